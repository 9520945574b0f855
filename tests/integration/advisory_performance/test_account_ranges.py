"""Months worked on range by range of accounts give what they give as a whole."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from pipeline_platform.advisory_performance import account_ranges
from pipeline_platform.advisory_performance.account_ranges import AccountRange
from pipeline_platform.advisory_performance.automation import months_to_process
from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext, shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import generate_arrivals
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.services import Services
from tests.assets.content import Content, database_content, differences, lake_content
from tests.assets.platform_runs import deliver, process_months, settings_at
from tests.integration.advisory_performance.test_sample_ledger import REQUEST

NOW = datetime(2024, 11, 2, tzinfo=UTC)


@pytest.fixture
def processed(new_database, tmp_path_factory) -> Callable[[], Content]:
    """Take the same deliveries to PostgreSQL on a platform of its own."""
    made = generate_arrivals(replace(REQUEST, accounts=4, days=30), dict(shipped_mappings()))

    def process() -> Content:
        settings = settings_at(tmp_path_factory.mktemp("ranges"), new_database())
        with Services(settings) as services:
            for file in [*made.files, *made.corrections]:
                deliver(settings, file.name, file.content)
            run = RunContext(services, "ranges", clock=lambda: NOW)
            list(ingest_arrivals(run))
            _, first, last = months_to_process(services)
            months = month_range(first, last)
            process_months(run, months)
            return {**lake_content(services, without_instants=True), **database_content(services)}

    return process


def test_ranges_of_accounts_give_the_same_tables(
    processed: Callable[[], Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = processed()
    cut = []
    ranges_of = account_ranges.ranges_of

    def noted(*given: Any) -> list[AccountRange]:
        cut.append(ranges_of(*given))
        return cut[-1]

    monkeypatch.setattr(account_ranges, "ranges_of", noted)
    monkeypatch.setattr(account_ranges, "rows_at_once", lambda _settings, _bytes: 60)
    assert differences(whole, processed()) == {}
    assert max(map(len, cut)) > 4


def test_ranges_leave_no_account_out_and_keep_to_the_limit() -> None:
    with duckdb.connect() as engine:
        rows = engine.sql("SELECT 'A' || (i % 7) AS account_id FROM range(100) AS r(i)")
        ranges = account_ranges.account_ranges(engine, rows, 30)
        counts = [
            rows.filter(one.condition).aggregate("count(*), count(DISTINCT account_id)").fetchone()
            for one in ranges
        ]
    assert (ranges[0].first, ranges[-1].end, sum(rows for rows, _ in counts)) == (None, None, 100)
    assert all(count <= 30 + 15 for count, _ in counts)


def test_without_rows_one_range_holds_every_account() -> None:
    with duckdb.connect() as engine:
        rows = engine.sql("SELECT 'A' AS account_id WHERE false")
        assert account_ranges.account_ranges(engine, rows, 30) == [account_ranges.ALL_ACCOUNTS]
