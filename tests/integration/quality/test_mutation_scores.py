"""A table's own checks on damaged copies: what they catch, and that nothing else is touched."""

import json
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.failures import NotFoundError
from pipeline_platform.orchestration.mutations import mutations_asset
from pipeline_platform.quality.mutation_scores import (
    Mutated,
    TableScore,
    contracts_of,
    labelled,
    own_contracts,
    rows_of_scores,
    run_of,
    score_table,
    survivors,
)
from pipeline_platform.quality.observations import history
from pipeline_platform.run_context import RunContext
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.warehouse.table_contents import contents
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import PIPELINE, WEB_EVENTS
from tests.assets.platform_runs import settings_at
from tests.integration.web_events import event_files
from tests.integration.web_events.event_files import DAY, NOON, deliver, events, ingest

RUNBOOK = load_runbook()
(CONTRACT,) = own_contracts(PIPELINE)
Scored = tuple[Services, TableScore, dict[str, object], dict[str, object]]


def state_of(services: Services) -> dict[str, object]:
    """Return what every table of PostgreSQL and the lake's tables hold."""
    return {
        "database": contents({"platform": services.database.url}),
        "snapshots": services.lake.snapshots(WEB_EVENTS),
        "sizes": services.lake.table_sizes(),
    }


@pytest.fixture(scope="module")
def scored(new_database, tmp_path_factory) -> Iterator[Scored]:
    """Two days of events, the second with 120; its score, and what there was before and after."""
    with Services(settings_at(tmp_path_factory.mktemp("mutated"), new_database())) as services:
        deliver(services, "events_1.ndjson", events(5, NOON - timedelta(days=1), prefix="b"))
        deliver(services, "events_2.ndjson", events(120, value=12.5, currency="EUR"))
        ingest(event_files.run_of(services))
        event_files.refine_requested(event_files.run_of(services))
        before = state_of(services)
        score = score_table(event_files.run_of(services, "mutations"), CONTRACT)
        yield services, score, before, state_of(services)


@pytest.fixture(scope="module")
def raw(scored: Scored) -> TableScore:
    """The score of bronze after the same deliveries."""
    services = scored[0]
    (declared,) = [
        one for one in contracts_of(services, PIPELINE) if one.table == "bronze/raw_events"
    ]
    return score_table(event_files.run_of(services, "mutations"), declared)


def outcome(score: TableScore, kind: str, *columns: str) -> Mutated:
    (found,) = [one for one in score.mutations if (one.kind, one.columns) == (kind, columns)]
    return found


def test_the_newest_partition_with_enough_rows_is_copied(scored) -> None:
    _, score, _, _ = scored
    assert (score.partition, score.copied_rows, score.partition_rows) == (DAY, 120, 120)


@pytest.mark.parametrize(
    ("kind", "columns", "check"),
    [
        ("null_in_required", ("visitor_id",), "visitor_id_is_given"),
        ("unknown_value", ("device_type",), "device_type_is_known"),
        ("malformed_text", ("currency",), "currency_is_a_code"),
        ("duplicated_rows", (), "an_event_stands_once"),
        ("missing_column", ("received_at",), "columns_are_as_declared"),
        ("dropped_rows", (), "conservation"),
        ("truncated", (), "conservation"),
    ],
)
def test_a_mutation_is_caught_by_the_check_that_is_meant_for_it(
    scored, kind: str, columns: tuple[str, ...], check: str
) -> None:
    _, score, _, _ = scored
    assert check in outcome(score, kind, *columns).caught_by


def test_bronze_is_scored_by_its_declaration_and_ledger_and_has_no_limit(scored, raw) -> None:
    _, silver, _, _ = scored
    rows = {row["table"]: row for row in rows_of_scores([silver, raw])}
    assert [rows["bronze/raw_events"][name] for name in ("has limit", "not measurable")] == [
        False,
        None,
    ]
    assert list(labelled([silver, raw])) == ["web_events"]


@pytest.mark.parametrize(
    ("kind", "columns", "caught_by"),
    [
        ("null_in_required", ("raw",), ("raw_is_given",)),
        (
            "missing_column",
            ("received_at",),
            ("columns_are_as_declared", "received_at_is_given"),
        ),
        ("duplicated_rows", (), ("conservation",)),
        ("dropped_rows", (), ("conservation",)),
        ("truncated", (), ("conservation",)),
        ("shifted_day", ("event_date",), ("conservation",)),
        ("swapped_columns", ("file_name", "file_sha256"), ("conservation",)),
    ],
)
def test_damage_to_bronze_is_caught(raw, kind, columns, caught_by) -> None:
    assert outcome(raw, kind, *columns).caught_by == caught_by


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("unit_times_100", ("line_number",)),
        ("unknown_value", ("source",)),
        ("other_time_zone", ("event_at",)),
    ],
)
def test_what_bronze_keeps_as_delivered_survives(raw, kind, columns) -> None:
    assert outcome(raw, kind, *columns).outcome == "survived"


def test_a_kind_without_a_column_for_it_is_not_applicable(raw) -> None:
    assert outcome(raw, "stale_day").outcome == "not applicable"


def test_what_no_check_looks_at_survives(scored) -> None:
    _, score, _, _ = scored
    assert outcome(score, "unit_times_100", "value").outcome == "survived"


def test_what_changes_nothing_is_not_counted(scored) -> None:
    _, score, _, _ = scored
    assert outcome(score, "wrong_sign", "response_bytes").outcome == "not applicable"
    counted = len(score.mutations) - len(score.with_outcome("not applicable"))
    assert score.measurement().denominator == counted


def test_a_check_that_has_nothing_to_compare_with_is_blind(scored) -> None:
    _, score, _, _ = scored
    assert "hourly_volume" in score.blind


def test_neither_database_nor_lake_is_changed(scored) -> None:
    _, _, before, after = scored
    assert after == before


def test_what_measures_are_given_can_not_write(scored) -> None:
    services, _, _, _ = scored
    with (
        services.only_reading(services.lake) as reading,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        reading.database.transaction() as connection,
    ):
        connection.execute("DELETE FROM check_observations")


def test_a_partition_that_is_not_there_is_named(scored) -> None:
    services, _, _, _ = scored
    with pytest.raises(NotFoundError, match="no partition 2001-01-01"):
        score_table(run_of(services, RUNBOOK, "test"), CONTRACT, date(2001, 1, 1))


def test_without_rows_nothing_is_measurable(settings) -> None:
    with Services(settings) as services:
        score = score_table(run_of(services, RUNBOOK, "test"), CONTRACT)
    assert score.measurement().not_measurable_reason == "web_events has no rows yet"


def test_a_pipeline_without_code_of_its_own_is_judged_by_its_contract_alone(scored) -> None:
    services, _, _, _ = scored
    runbook = Runbook.model_validate(RUNBOOK.model_dump() | {"pipeline": "unknown"})
    assert type(run_of(services, runbook, "test")) is RunContext


def test_the_asset_shows_score_and_survivors_and_keeps_the_observation(scored) -> None:
    services, score, _, _ = scored
    result = dg.materialize([mutations_asset(RUNBOOK)], resources={"services": services})
    (made,) = result.get_asset_materialization_events()
    metadata = made.materialization.metadata
    (check,) = result.get_asset_check_evaluations()
    assert metadata["score/web_events"].value == score.measurement().value
    assert 0 < metadata["score/bronze/raw_events"].value < 100
    assert "| web_events | unit_times_100 | value |" in metadata["survivors"].value
    assert (check.check_name, check.passed) == ("mutation_score", True)
    with services.database.connection() as connection:
        assert len(history(connection, PIPELINE, "mutation_score", limit=10)) == 1


def test_survivors_are_told_by_table_kind_and_columns(scored) -> None:
    _, score, _, _ = scored
    row = {"table": "web_events", "mutation": "unit_times_100", "columns": "value"}
    assert row in survivors([score])


def test_the_command_says_that_nothing_is_measurable(monkeypatch, settings) -> None:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    found = CliRunner().invoke(app, ["mutations", "web", "--json"])
    assert (found.exit_code, json.loads(found.stdout)) == (0, [])
    assert "not measurable: web_events has no rows yet" in " ".join(found.stderr.split())


def test_the_command_refuses_a_table_that_is_not_there(monkeypatch, settings) -> None:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    found = CliRunner().invoke(app, ["mutations", "web", "--table", "nowhere"])
    assert found.exit_code == 2
    assert "no table 'nowhere'; it has: web_events" in found.stderr
