"""A delivery, its repetition and a correction, through the jobs: what changes and what must not."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from pipeline_platform.advisory_performance.automation import months_to_process
from pipeline_platform.advisory_performance.restatements import as_known_at
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    RESTATEMENTS,
    TABLES,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.quality.conservation import gaps, imbalances
from tests.assets.content import Content, comparable, database_content, differences, lake_content
from tests.assets.platform_runs import (
    AUGUST,
    OCTOBER,
    SEPTEMBER,
    Platform,
    deliver,
    deliver_sample,
    running,
    sample,
    settings_at,
)

CORRECTED_ACCOUNT, CORRECTED_DAY = "A-0001", date(2024, 9, 16)
CORRECTION = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
    f"{CORRECTED_ACCOUNT},{CORRECTED_DAY},4000000.00,,,,,USD\n"
)
CORRECTION_ARRIVED = datetime(2024, 11, 5, 6, tzinfo=UTC)


@dataclass
class History:
    """The platform after everything, and what was seen on the way."""

    platform: Platform
    ingest: dg.ExecuteInProcessResult
    workflow: dg.ExecuteInProcessResult
    health: dg.ExecuteInProcessResult
    cost: dg.ExecuteInProcessResult
    before_repetition: Content
    after_repetition: Content
    correction_range: tuple[date, date]
    correction: dg.ExecuteInProcessResult
    first_reported_at: datetime
    evaluated: set[dg.AssetCheckKey] = field(default_factory=set)


def everything(platform: Platform) -> Content:
    return {**lake_content(platform.services), **database_content(platform.services)}


@pytest.fixture(scope="module")
def history(new_database, tmp_path_factory) -> Iterator[History]:
    settings = settings_at(tmp_path_factory.mktemp("history"), new_database())
    deliver_sample(settings, sample())
    with running(settings) as platform:
        ingest = platform.ingest()
        workflow = platform.process_pending()
        health = platform.run(f"{PIPELINE}_health")
        cost = platform.run("operations_daily_cost")
        first_reported_at = datetime.now(UTC)
        before = everything(platform)
        deliver_sample(settings, sample())
        platform.ingest()
        platform.process(AUGUST, OCTOBER)
        after = everything(platform)
        deliver(settings, "standard_fix.csv", CORRECTION.encode(), arrived_at=CORRECTION_ARRIVED)
        platform.ingest(["standard_fix.csv"])
        _, *span = months_to_process(platform.services)
        correction = platform.process_pending()
        yield History(
            platform=platform,
            ingest=ingest,
            workflow=workflow,
            health=health,
            cost=cost,
            before_repetition=before,
            after_repetition=after,
            correction_range=tuple(span),
            correction=correction,
            first_reported_at=first_reported_at,
        )


def evaluated(*results: dg.ExecuteInProcessResult) -> set[dg.AssetCheckKey]:
    return {
        one.asset_check_key for result in results for one in result.get_asset_check_evaluations()
    }


def versions_of(platform: Platform, table, account: str, day: date) -> list[tuple]:
    with platform.services.connect() as engine:
        return (
            platform.services.lake.relation(engine, table)
            .filter(f"account_id = '{account}' AND as_of_date = DATE '{day}'")
            .order("known_from")
            .project("market_value, is_current")
            .fetchall()
        )


def restated_account_days(platform: Platform) -> list[tuple]:
    with platform.services.connect() as engine:
        return (
            platform.services.lake.relation(engine, TIME_WEIGHTED_RETURNS)
            .filter("NOT is_current")
            .aggregate("account_id, min(as_of_date)", "account_id")
            .fetchall()
        )


def test_a_delivery_goes_through_every_job(history: History) -> None:
    runs = (history.ingest, history.workflow, history.health)
    assert [run.success for run in runs] == [True, True, True]


def test_every_table_of_the_lake_gets_rows(history: History) -> None:
    empty = {table.name for table in TABLES if not history.before_repetition[table.name]}
    assert empty == {RESTATEMENTS.name}


def test_every_declared_check_is_evaluated(history: History) -> None:
    graph = history.platform.definitions.resolve_asset_graph()
    declared = {key for key in graph.asset_check_keys if key.asset_key.path[0] == PIPELINE}
    assert declared - evaluated(history.ingest, history.workflow, history.health) == set()


def test_every_threshold_of_the_runbook_is_an_evaluated_check(history: History) -> None:
    """All but that of the nightly mutations, which have a job and a test of their own."""
    names = {
        key.name
        for key in evaluated(history.ingest, history.workflow, history.health, history.cost)
    }
    checks = {one.check for one in load_runbook().thresholds.values()}
    assert checks - names == {"mutation_score"}


def test_an_undamaged_delivery_has_no_figure_in_breach(history: History) -> None:
    columns = TABLES[6].schema.names
    position = columns.index("reconciliation_status")
    statuses = {row[position] for row in history.before_repetition["reconciliation"]}
    assert statuses <= {"COMPLETED", "PENDING"}


def test_serving_holds_every_current_account_day(history: History) -> None:
    served = history.before_repetition["performance_data"].total()
    assert served == history.before_repetition["time_weighted_returns"].total()


def test_the_same_delivery_and_workflow_again_change_nothing(history: History) -> None:
    left_out = {"etl_processing_log"}  # it tells of the repeated delivery
    before = {k: v for k, v in history.before_repetition.items() if k not in left_out}
    after = {k: v for k, v in history.after_repetition.items() if k not in left_out}
    assert differences(before, after) == {}


def test_a_repeated_delivery_is_no_new_file(history: History) -> None:
    logs = [
        one["etl_processing_log"] for one in (history.before_repetition, history.after_repetition)
    ]
    assert logs[0].total() == logs[1].total()


def test_a_correction_is_processed_from_its_month_to_the_latest(history: History) -> None:
    assert history.correction_range == (SEPTEMBER, OCTOBER)


def test_a_correction_is_processed_successfully(history: History) -> None:
    assert history.correction.success


def test_a_corrected_value_closes_the_old_version(history: History) -> None:
    versions = versions_of(history.platform, VALUATIONS, CORRECTED_ACCOUNT, CORRECTED_DAY)
    assert [is_current for _, is_current in versions] == [False, True]


def test_a_correction_restates_its_account_from_its_day_on_and_no_other(history: History) -> None:
    assert restated_account_days(history.platform) == [(CORRECTED_ACCOUNT, CORRECTED_DAY)]


def test_unchanged_account_days_keep_their_version(history: History) -> None:
    names = TIME_WEIGHTED_RETURNS.schema.names
    account, day = names.index("account_id"), names.index("as_of_date")
    after = lake_content(history.platform.services, tables=["time_weighted_returns"])
    unchanged = [
        row
        for row in history.before_repetition["time_weighted_returns"]
        if row[account] != CORRECTED_ACCOUNT or row[day] < CORRECTED_DAY
    ]
    assert [row for row in unchanged if row not in after["time_weighted_returns"]] == []


def test_what_was_known_before_the_correction_is_what_was_reported_then(history: History) -> None:
    version = ("known_from", "known_to", "is_current")
    positions = [
        place
        for place, name in enumerate(TIME_WEIGHTED_RETURNS.schema.names)
        if name not in version
    ]
    reported = {
        tuple(row[place] for place in positions)
        for row in history.before_repetition["time_weighted_returns"]
    }
    with history.platform.services.connect() as engine:
        relation = history.platform.services.lake.relation(engine, TIME_WEIGHTED_RETURNS)
        known = as_known_at(relation, history.first_reported_at)
        rows = known.project(comparable(TIME_WEIGHTED_RETURNS, version)).fetchall()
    assert set(rows) == reported


def test_the_old_value_is_known_until_the_correction_arrived(history: History) -> None:
    with history.platform.services.connect() as engine:
        relation = history.platform.services.lake.relation(engine, VALUATIONS).filter(
            f"account_id = '{CORRECTED_ACCOUNT}' AND as_of_date = DATE '{CORRECTED_DAY}'"
        )
        corrected = as_known_at(relation, CORRECTION_ARRIVED).fetchone()
        assert str(corrected[VALUATIONS.schema.names.index("market_value")]) == "4000000.0000"


def test_a_correction_is_listed_as_a_restatement(history: History) -> None:
    rows = lake_content(history.platform.services, tables=["restatements"])["restatements"]
    measures = {row[RESTATEMENTS.schema.names.index("measure")] for row in rows}
    assert "market_value" in measures


def test_a_corrected_value_is_served(history: History) -> None:
    with history.platform.services.database.connection() as connection:
        served = connection.execute(
            "SELECT market_value::text FROM performance_data"
            " WHERE account_id = %s AND as_of_date = %s",
            (CORRECTED_ACCOUNT, CORRECTED_DAY),
        ).fetchone()
    assert served == ("4000000.0000",)


def test_every_file_is_completed_once_its_months_are_served(history: History) -> None:
    with history.platform.services.database.connection() as connection:
        statuses = connection.execute("SELECT DISTINCT status FROM etl_processing_log").fetchall()
    assert statuses == [("COMPLETED",)]


def test_the_ledger_balances_and_has_no_gap(history: History) -> None:
    with history.platform.services.database.connection() as connection:
        found = [
            *imbalances(connection, PIPELINE),
            *gaps(connection, PIPELINE, "landing_to_bronze", "bronze_to_silver"),
        ]
    assert found == []


def test_nothing_waits_after_the_workflow(history: History) -> None:
    assert months_to_process(history.platform.services) is None
