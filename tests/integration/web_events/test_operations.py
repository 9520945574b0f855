"""The runbook's dbt operations answer from a real lake, through dbt and through the command."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyiceberg.table.puffin import PuffinFile
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.dbt import PROJECT
from pipeline_platform.quality.measures import ALL, Scope
from pipeline_platform.services import Services
from pipeline_platform.web_events.analyst_queries import analyst_queries, run_query
from pipeline_platform.web_events.dbt_operations import Operations
from pipeline_platform.web_events.measures import MEASURES
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import WEB_EVENTS
from tests.integration.web_events.conftest import build_and_publish
from tests.integration.web_events.silver_events import event, noon, publish_silver

NEWEST = date(2025, 1, 8)
STEADY = [0.9] * 7


def publish_days(services: Services, scores: list[float]) -> None:
    """Publish an event a day with that score, the last one on the newest day."""
    first = NEWEST - timedelta(days=len(scores) - 1)
    publish_silver(
        services,
        [
            event(noon(first + timedelta(days=number)), 1, data_quality_score=score)
            for number, score in enumerate(scores)
        ],
    )


def metadata(services: Services, table: LakeTable):
    return services.lake.catalog.load_table(table.identifier).metadata


def environment(services: Services) -> dict[str, str]:
    settings = services.settings
    return {
        "PLATFORM_HOME": str(settings.home),
        "PLATFORM_ENVIRONMENT": "test",
        "PLATFORM_DATABASE_URL": settings.database_url.get_secret_value(),
    }


@pytest.mark.parametrize(
    ("scores", "outcome"),
    [
        (STEADY, "pass"),
        ([0.9, 0.91, 0.9, 0.91, 0.9, 0.91, 0.9], "pass"),
        ([0.9, 0.88, 0.86, 0.84, 0.82, 0.8, 0.78], "warn"),
        ([*STEADY[:6], 0.84], "warn"),
        ([*STEADY[:6], 0.6], "fail"),
        ([0.2, *STEADY], "pass"),
        ([0.9, 0.2], "warn"),
    ],
    ids=["steady", "wavy", "declining", "fallen", "fallen far", "older than a week", "too short"],
)
def test_a_declining_trend_warns_and_a_deep_fall_fails(
    services: Services, scores: list[float], outcome: str
) -> None:
    publish_days(services, scores)

    answer = Operations(services).run("check_data_quality_trends", {})

    assert answer.outcome == outcome
    assert len(answer.lines) == 2


def test_a_trend_without_any_day_is_not_measurable_and_warns(services: Services) -> None:
    answer = Operations(services).run("check_data_quality_trends", {})

    assert answer.outcome == "warn"
    assert "not measurable" in answer.lines[0]


def test_statistics_tell_planners_how_many_values_each_column_has(services: Services) -> None:
    days = [NEWEST, NEWEST - timedelta(days=1)]
    publish_silver(
        services,
        [
            event(noon(day), n, session=f"s{n % 3}", user_id="ann")
            for day in days
            for n in range(1, 9)
        ],
    )

    answer = Operations(services).run("update_table_statistics", {"table_name": "web_events"})

    assert answer.outcome == "pass"
    assert "16 rows in 2 files" in answer.lines[0]
    found = metadata(services, WEB_EVENTS)
    (statistics,) = found.statistics
    names = {field.field_id: field.name for field in found.schema().fields}
    counts = {names[one.fields[0]]: one.properties["ndv"] for one in statistics.blob_metadata}
    assert statistics.snapshot_id == found.current_snapshot_id
    assert (counts["event_id"], counts["event_date"], counts["user_id"]) == ("16", "2", "1")
    assert (counts["session_id"], counts["event_at"], counts["referrer"]) == ("6", "2", "0")
    content = Path(statistics.statistics_path.removeprefix("file://")).read_bytes()
    assert len(content) == statistics.file_size_in_bytes
    assert len(PuffinFile(content).footer.blobs) == len(counts)


def test_statistics_are_those_of_the_snapshot_and_survive_the_next_one(services: Services) -> None:
    operations = Operations(services)
    publish_silver(services, [event(noon(NEWEST), 1)])
    operations.run("update_table_statistics", {})
    operations.run("update_table_statistics", {})
    publish_silver(services, [event(noon(NEWEST), 1), event(noon(NEWEST), 2)])
    operations.run("update_table_statistics", {})

    snapshots = [one.snapshot_id for one in metadata(services, WEB_EVENTS).statistics]

    assert len(snapshots) == len(set(snapshots)) == 2


def test_partitions_are_reported_as_they_are(services: Services) -> None:
    publish_silver(services, [event(noon(NEWEST), 1), event(noon(NEWEST), 2)])

    answer = Operations(services).run("refresh_table_partitions", {"table_name": "web_events"})

    assert answer.outcome == "pass"
    assert "nothing to refresh" in answer.lines[0]
    assert answer.lines[1].startswith("  2025-01-08: 1 file, 2 rows")


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_partition_whose_file_is_damaged_fails(services: Services, damage: str) -> None:
    publish_silver(services, [event(noon(NEWEST), 1)])
    (file,) = services.lake.files(WEB_EVENTS)
    path = Path(file.removeprefix("file://"))
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(content[:-1])

    answer = Operations(services).run("refresh_table_partitions", {"table_name": "web_events"})

    assert answer.outcome == "fail"
    assert file in answer.lines[-2]


def test_a_table_that_is_none_is_named(services: Services) -> None:
    answer = Operations(services).run("refresh_table_partitions", {"table_name": "web_evnts"})

    assert answer.outcome == "fail"
    assert "no table 'web_evnts'" in answer.lines[0]


def test_dbt_run_operation_works_by_itself(services: Services, tmp_path: Path) -> None:
    publish_days(services, [*STEADY[:6], 0.6])
    command = [Path(sys.executable).with_name("dbt"), "run-operation", "check_data_quality_trends"]
    folders = ["--target-path", tmp_path / "target", "--log-path", tmp_path / "logs"]

    ended = subprocess.run(
        [*command, *folders, "--profiles-dir", PROJECT],
        cwd=PROJECT,
        env={**os.environ, **environment(services)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "Fall of the quality score on the newest day is 0.3 points of 1" in ended.stdout


def test_the_command_sets_the_environment(
    services: Services, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    publish_silver(services, [event(noon(NEWEST), 1)])
    for name, value in environment(services).items():
        monkeypatch.setenv(name, value)

    ended = CliRunner().invoke(
        app, ["dbt-operation", "refresh_table_partitions", "--args", "{'table_name': 'web_events'}"]
    )

    assert ended.exit_code == 0
    assert "2025-01-08: 1 file, 1 row" in ended.output + capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "no operation 'nonsense'; choose from check_data_quality_trends, "),
        (["update_table_statistics", "--args", "{'table_name': "], "are no mapping in YAML"),
        (["update_table_statistics", "--args", "web_events"], "are no mapping in YAML"),
    ],
)
def test_an_operation_that_is_none_or_wrong_arguments_are_named(
    arguments: list[str], said: str
) -> None:
    ended = CliRunner().invoke(app, ["dbt-operation", *arguments])

    assert (ended.exit_code, said in ended.output) == (2, True)


@pytest.fixture(scope="module")
def with_marts(new_services: Callable[..., Services]) -> Services:
    """A platform that tests only ask: three days of events and their marts."""
    services = new_services()
    publish_silver(services, [event(noon(NEWEST - timedelta(days=n)), 1) for n in range(3)])
    build_and_publish(services, NEWEST - timedelta(days=2), NEWEST)
    return services


@pytest.mark.parametrize("threshold", ["query_time", "slow_queries"])
def test_each_analysts_query_is_timed(with_marts: Services, threshold: str) -> None:
    found = MEASURES[threshold](Scope(RunContext(with_marts, "run"), ()))

    assert set(found) == set(analyst_queries())
    assert all(one.value is not None and one.value > 0 for one in found.values())


@pytest.mark.parametrize("query", analyst_queries())
def test_each_analysts_query_answers(with_marts: Services, query: str) -> None:
    assert run_query(with_marts, analyst_queries()[query], NEWEST)


def test_without_events_query_time_is_not_measurable(services: Services) -> None:
    found = MEASURES["query_time"](Scope(RunContext(services, "run"), ()))

    assert found[ALL].value is None
