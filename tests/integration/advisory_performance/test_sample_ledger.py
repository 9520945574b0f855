"""Sample files with a ledger of their faults: every fault is found and named, and nothing else.

The generator knows nothing of the rules: it damages files, rows and figures and writes down what
must be said of each. The whole way runs, from `incoming/` to reconciled gold.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance.automation import months_to_process
from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.measurement import measure_range, reconcile_range
from pipeline_platform.advisory_performance.refinement import publish_months, stage_months
from pipeline_platform.advisory_performance.run_context import RunContext, shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import (
    SampleArrivals,
    SampleRequest,
    generate_arrivals,
)
from pipeline_platform.advisory_performance.samples.faults import FIGURE_FAULTS
from pipeline_platform.advisory_performance.serving import serve_months
from pipeline_platform.advisory_performance.tables import PIPELINE, RECONCILIATION
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.quality.conservation import gaps, imbalances, ledger
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

REQUEST = SampleRequest(
    accounts=8,
    days=200,
    end=date(2024, 10, 31),
    fault_rate=0.01,
    has_file_faults=True,
    has_corrections=True,
    seed=2026,
)


@dataclass(frozen=True)
class Processed:
    """What was made and what the platform says of it."""

    made: SampleArrivals
    services: Services
    breaches: dict[tuple[str, str, date], str]


@pytest.fixture(scope="module")
def processed(new_database, tmp_path_factory) -> Iterator[Processed]:
    settings = Settings(
        home=tmp_path_factory.mktemp("ledger"),
        environment="test",
        database_url=SecretStr(new_database()),
    )
    made = generate_arrivals(REQUEST, dict(shipped_mappings()))
    with Services(settings) as services:
        for file in made.files:
            services.landing(PIPELINE).put(file.name, file.content)
        run = RunContext(services, "ledger")
        list(ingest_arrivals(run))
        _, first, last = months_to_process(services)
        months = month_range(first, last)
        publish_months(run, stage_months(run, months))
        for work in (measure_range, reconcile_range, serve_months):
            list(work(run, months))
        with services.connect() as engine:
            breaches = (
                services.lake.relation(engine, RECONCILIATION)
                .filter("reconciliation_status = 'BREACH'")
                .project("vendor, account_id, as_of_date, period, probable_cause")
                .fetchall()
            )
        yield Processed(
            made, services, {(v, a, d, period): cause for v, a, d, period, cause in breaches}
        )


def faults(processed: Processed, level: str):
    return [fault for fault in processed.made.faults if fault.level == level]


def rows(processed: Processed, query: str) -> Counter:
    with processed.services.database.connection() as connection:
        return Counter(connection.execute(query.encode()).fetchall())


def canonical(vendor: str, account_id: str) -> str:
    """Return an account's name as the vendor's mapping normalises it."""
    return shipped_mappings()[vendor].account.apply(account_id)


def injected_figures(processed: Processed) -> dict[tuple[str, str, date, str], str]:
    return {
        (one.vendor, canonical(one.vendor, one.account_id), one.as_of_date, "daily"): one.expected
        for one in faults(processed, "figure")
    }


def test_the_sample_has_figures_wrong_in_every_way(processed: Processed) -> None:
    assert {fault.kind for fault in faults(processed, "figure")} == set(FIGURE_FAULTS)


def test_every_damaged_file_is_quarantined_by_its_rule_and_no_other_file(
    processed: Processed,
) -> None:
    expected = Counter((one.file_name, one.expected) for one in faults(processed, "file"))
    assert rows(processed, "SELECT file_name, rule FROM quarantined_files") == expected


def test_every_damaged_row_is_quarantined_by_its_rule_and_no_other_row(
    processed: Processed,
) -> None:
    expected = Counter((one.file_name, one.expected) for one in faults(processed, "row"))
    assert rows(processed, "SELECT file_name, rule FROM quarantined_rows") == expected


def test_every_quarantined_row_has_its_record_and_a_reason(processed: Processed) -> None:
    incomplete = "coalesce(record, '') = '' OR reason = '' OR line_number < 1 OR vendor IS NULL"
    query = f"SELECT count(*) FROM quarantined_rows WHERE {incomplete}"
    assert rows(processed, query) == {(0,): 1}


def test_every_wrong_figure_is_a_breach(processed: Processed) -> None:
    assert set(injected_figures(processed)) - set(processed.breaches) == set()


def test_no_right_figure_is_a_breach(processed: Processed) -> None:
    assert set(processed.breaches) - set(injected_figures(processed)) == set()


def test_every_wrong_figure_is_explained_by_its_cause(processed: Processed) -> None:
    expected = injected_figures(processed)
    named = {key: processed.breaches.get(key) for key in expected}
    wrong = {key: (expected[key], named[key]) for key in expected if named[key] != expected[key]}
    assert wrong == {}


def test_no_figure_misses_its_counterpart(processed: Processed) -> None:
    with processed.services.connect() as engine:
        missing = (
            processed.services.lake.relation(engine, RECONCILIATION)
            .filter("reconciliation_status LIKE 'MISSING%'")
            .project("vendor, account_id, as_of_date, period")
            .fetchall()
        )
    assert missing == []


def test_every_record_is_accounted_for(processed: Processed) -> None:
    with processed.services.database.connection() as connection:
        found = [
            *imbalances(connection, PIPELINE),
            *gaps(connection, PIPELINE, "landing_to_bronze", "bronze_to_silver"),
        ]
    assert found == []


def test_the_ledger_counts_every_record_of_every_readable_file(processed: Processed) -> None:
    damaged = {fault.file_name for fault in faults(processed, "file")}
    delivered = sum(one.record_count for one in processed.made.files if one.name not in damaged)
    with processed.services.database.connection() as connection:
        entries = ledger(connection, PIPELINE, hop="landing_to_bronze")
    assert sum(entry.arrived for entry in entries) == delivered


def test_every_readable_file_is_completed(processed: Processed) -> None:
    damaged = len(faults(processed, "file"))
    statuses = rows(processed, "SELECT status FROM etl_processing_log")
    assert statuses == {
        ("COMPLETED",): len(processed.made.files) - damaged,
        ("QUARANTINED",): damaged,
    }
