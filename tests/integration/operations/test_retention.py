"""Retention over a real database, landing zone and Dagster: what goes, and what never does."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform.failures import UnavailableError
from pipeline_platform.logs import folder_of
from pipeline_platform.operations.plan import RetentionPlan, operations_plan, runbooks
from pipeline_platform.operations.retention import Outcome, Retention
from pipeline_platform.orchestration.run_retention import OldRuns
from pipeline_platform.quality.quarantined_files import HeldFile, hold_file, resolve_file
from pipeline_platform.services import Services
from pipeline_platform.warehouse import retention as tables
from pipeline_platform.warehouse.report_pages import keep_page, kept_pages
from pipeline_platform.warehouse.stops import stop
from tests.assets.platform_runs import running

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PIPELINE = "web_events"
PLAN = operations_plan().retention


@pytest.fixture
def services(settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def retention(services: Services) -> Retention:
    return Retention.of(services, NOW, "retention-1", None, lambda: ())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def outcome(outcomes: Iterator[Outcome], place: str) -> Outcome:
    return next(one for one in outcomes if one.place == place)


def execute(services: Services, statement: str, *values: object) -> list[tuple[object, ...]]:
    with services.database.transaction() as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def observe(services: Services, check: str, days: float) -> None:
    execute(
        services,
        "INSERT INTO check_observations (observed_at, pipeline, check_name, outcome)"
        " VALUES (%s, 'p', %s, 'pass')",
        ago(days), check,
    )  # fmt: skip


def archived(services: Services, *, status: str = "COMPLETED") -> Path:
    """Put a file into the archive now, and into the register."""
    sha256 = "ab" * 32
    path = Path(services.settings.archive_location) / PIPELINE / sha256[:2] / sha256 / "events.gz"
    path.parent.mkdir(parents=True)
    path.write_text("content")
    execute(
        services,
        "INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, status, size_bytes,"
        " arrived_at, processing_start_time, run_id)"
        " VALUES (%s, 'f', %s, %s, 7, now(), now(), 'run')",
        PIPELINE, sha256, status,
    )  # fmt: skip
    return path


def years_later(retention: Retention, days: float = 3000) -> Retention:
    """Return the pass so many days from now: when a file came is what the file system says."""
    return replace(retention, now=datetime.now(UTC) + timedelta(days=days))


class TestTables:
    def test_what_is_past_its_limit_goes(self, retention, services) -> None:
        for days in (1, 119, 121, 500):
            observe(services, "a", days)
        done = outcome(retention.apply(), "table check_observations")
        assert (done.removed, done.held, done.going) == (2, 2, 0)

    def test_a_dry_run_says_the_same_and_changes_nothing(self, retention, services) -> None:
        for days in (1, 121, 500):
            observe(services, "a", days)
        seen = [outcome(retention.look(), "table check_observations") for _ in range(2)]
        assert [(one.held, one.going, one.removed) for one in seen] == [(3, 2, None)] * 2

    def test_the_latest_of_each_check_stays_however_old(self, retention, services) -> None:
        observe(services, "a", 400)
        observe(services, "a", 500)
        observe(services, "b", 600)
        assert outcome(retention.apply(), "table check_observations").held == 2

    def test_the_last_success_of_a_pipeline_stays_however_old(self, retention, services) -> None:
        for name, status, days in (
            ("1", "SUCCESS", 400),
            ("2", "FAILURE", 399),
            ("3", "SUCCESS", 500),
        ):
            execute(
                services,
                "INSERT INTO pipeline_runs (run_id, pipeline_id, job_name, status, created_at,"
                " ended_at) VALUES (%s, 'p', 'j', %s, %s, %s)",
                name, status, ago(days), ago(days),
            )  # fmt: skip
        list(retention.apply())
        assert execute(services, "SELECT run_id FROM pipeline_runs") == [("1",)]

    def test_a_pass_is_bounded_and_the_next_one_goes_on(self, services, monkeypatch) -> None:
        monkeypatch.setattr(tables, "ROWS_AT_ONCE", 2)
        for days in range(200, 210):
            observe(services, "a", days)
        plan = PLAN.model_copy(update={"rows_per_pass": 5})
        bounded = Retention(services, NOW, "r", None, lambda: (), plan)
        found = [outcome(bounded.apply(), "table check_observations").removed for _ in range(3)]
        assert found == [5, 4, 0]

    def test_pages_go_by_their_report(self, retention, services) -> None:
        for report, days in (("morning_check", 31), ("monthly_review", 31), ("morning_check", 29)):
            told = {"pipeline": "p", "report": report, "is_fine": True, "verdict": ""}
            with services.database.transaction() as connection:
                keep_page(connection, ago(days).date(), told, made_at=ago(days), run_id=None)
        list(retention.apply())
        with services.database.connection() as connection:
            left = [(one["report"], one["made_at"]) for one in kept_pages(connection, None, 9)]
        assert left == [("morning_check", ago(29)), ("monthly_review", ago(31))]

    @pytest.mark.parametrize("name", tables.TABLES)
    def test_every_table_can_be_looked_at_and_cleaned(self, services, name: str) -> None:
        with services.database.connection() as connection:
            found = tables.aged_rows(connection, name, NOW)
            assert (found.going, list(tables.forget_rows(connection, name, NOW, 10))) == (0, [])


class TestLanding:
    @pytest.mark.parametrize(("days", "is_left"), [(2556, True), (2558, False)])
    def test_an_archived_file_goes_after_seven_years(
        self, retention, services, days: int, is_left: bool
    ) -> None:
        path = archived(services)
        list(years_later(retention, days).apply())
        assert path.exists() == is_left

    @pytest.mark.parametrize(("days", "going"), [(2556, 0), (2558, 1)])
    def test_a_dry_run_says_what_the_archive_holds(
        self, retention, services, days: int, going: int
    ) -> None:
        came = datetime.fromtimestamp(archived(services).stat().st_mtime, UTC)
        seen = outcome(years_later(retention, days).look(), f"{PIPELINE}: archived files")
        assert (seen.held, seen.going) == (1, going)
        assert abs(seen.oldest_at - came) < timedelta(minutes=1)

    def test_a_file_that_is_not_done_stays(self, retention, services) -> None:
        path = archived(services, status="PUBLISHED")
        list(years_later(retention).apply())
        assert path.exists()

    def test_a_file_of_which_a_record_is_held_stays(self, retention, services) -> None:
        path = archived(services)
        execute(
            services,
            "INSERT INTO quarantined_rows (pipeline, hop, file_sha256, file_name, line_number,"
            " rule, reason, run_id) VALUES (%s, 'h', %s, 'f', 1, 'r', 'why', 'run')",
            PIPELINE, path.parent.name,
        )  # fmt: skip
        list(years_later(retention).apply())
        assert path.exists()

    @pytest.mark.parametrize(
        ("now_in", "resolved_in", "is_left"),
        [(200, 100, False), (200, 150, True), (20, -100, True)],
    )
    def test_a_refused_file_goes_with_its_entry(
        self, retention, services, now_in: int, resolved_in: int, is_left: bool
    ) -> None:
        """Content that came again since, and is on its way to quarantine, is left."""
        sha256, came = "ab" * 32, datetime.now(UTC)
        folder = Path(services.settings.raw_location) / PIPELINE / "quarantine" / sha256
        folder.mkdir(parents=True)
        for name in ("f.csv", "f.csv.reason.txt"):
            (folder / name).write_text("x")
        file = HeldFile(PIPELINE, sha256, "f.csv", None, "empty", "why", None, "HELD", came, None)
        with services.database.transaction() as connection:
            hold_file(connection, file, now=came)
            resolved_at = came + timedelta(days=resolved_in)
            resolve_file(connection, PIPELINE, sha256, state="DISCARDED", now=resolved_at)
        list(years_later(retention, now_in).apply())
        assert folder.exists() == is_left


class TestRuns:
    def test_old_runs_go_with_their_events(self, instance) -> None:
        old = made(instance, "a"), made(instance, "a")
        forgotten = list(OldRuns(instance).forget(later(), 10))
        assert len(forgotten) == 1
        assert [instance.has_run(run_id) for run_id in old] == [False, True]
        assert instance.all_logs(old[0]) == []

    def test_the_latest_of_every_partition_stays(self, instance) -> None:
        runs = [made(instance, key) for key in ("a", "b", "a")]
        list(OldRuns(instance).forget(later(), 10))
        assert [instance.has_run(run_id) for run_id in runs] == [False, True, True]
        assert instance.get_materialized_partitions(ASSET.key) == {"a", "b"}

    def test_the_latest_evaluation_of_a_check_stays(self, instance) -> None:
        runs = [checked(instance), checked(instance)]
        list(OldRuns(instance).forget(later(), 10))
        assert [instance.has_run(run_id) for run_id in runs] == [False, True]

    def test_young_and_unfinished_runs_stay(self, instance) -> None:
        made(instance, "a")
        made(instance, "a")
        instance.add_run(dg.DagsterRun(job_name="j", status=dg.DagsterRunStatus.STARTED))
        before = datetime.now(UTC) - timedelta(days=1)
        assert list(OldRuns(instance).forget(before, 10)) == []
        assert OldRuns(instance).aged(before).held == 3

    def test_a_pass_is_bounded(self, instance) -> None:
        for _ in range(4):
            made(instance, "a")
        runs = OldRuns(instance)
        found = (
            runs.aged(later()).going,
            len(list(runs.forget(later(), 2))),
            runs.aged(later()).going,
        )
        assert found == (3, 2, 1)


class TestFailure:
    """A place that fails is told, and the pass goes on to its last place."""

    @pytest.mark.parametrize("pass_over", [Retention.look, Retention.apply])
    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (UnavailableError("Dagster does not answer."), "Dagster does not answer."),
            (KeyError("postgresql://a:b@c"), "A fault of the code (KeyError)."),
        ],
    )
    def test_of_what_can_not_even_be_looked_at(self, retention, pass_over, error, told) -> None:
        class Broken:
            def aged(self, before: datetime) -> tables.Aged:
                raise error

            def forget(self, before: datetime, most: int) -> Iterator[int]:
                yield 1

        broken = replace(retention, runs=Broken())
        assert failures(pass_over(broken)) == {"Dagster's runs and events": told}

    def test_of_what_can_not_be_forgotten(self, retention) -> None:
        class Broken:
            def aged(self, before: datetime) -> tables.Aged:
                return tables.Aged(0, None, 0)

            def forget(self, before: datetime, most: int) -> Iterator[int]:
                raise UnavailableError("Dagster does not answer.")

        told = failures(replace(retention, runs=Broken()).apply())
        assert told == {"Dagster's runs and events": "Dagster does not answer."}

    @pytest.mark.parametrize("pass_over", [Retention.look, Retention.apply])
    def test_of_a_lake_that_does_not_answer(self, settings, pass_over) -> None:
        nowhere = {"catalog_uri": "postgresql+psycopg://127.0.0.1:1/catalog"}
        with Services(settings.model_copy(update=nowhere)) as services:
            told = failures(pass_over(Retention.of(services, NOW, "r", None, lambda: ())))
        assert told.keys() == {f"{name}: snapshots" for name in runbooks()}

    @pytest.mark.parametrize("pass_over", [Retention.look, Retention.apply])
    def test_of_a_clean_up(self, retention, pass_over) -> None:
        def nobody_knows() -> None:
            raise ConnectionError("Dagster's storage is gone")

        told = failures(pass_over(replace(retention, unfinished_runs=nobody_knows)))
        assert told.keys() == {
            f"{name}: temporary files, resolved quarantine" for name in runbooks()
        }

    @pytest.mark.parametrize("pass_over", [Retention.look, Retention.apply])
    def test_of_backups(self, settings, pass_over) -> None:
        folder = settings.home / "backups"
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.write_text("a file where a folder should be")
        with Services(settings) as services:
            told = failures(pass_over(Retention.of(services, NOW, "r", None, lambda: ())))
        assert told.keys() == {"files of backups"}


def failures(outcomes: Iterator[Outcome]) -> dict[str, str]:
    """Return why places failed, by place, of a pass that came to its last place."""
    done = list(outcomes)
    assert done[-1].place == "files of backups"
    return {one.place: one.failure for one in done if one.failure}


def test_what_a_killed_backup_left_goes(retention, services) -> None:
    left = services.settings.home / "backups" / "database" / "2026-01-01T01-00-00Z-abcdef" / "base"
    left.parent.mkdir(parents=True)
    left.write_text("half a copy")
    seen = outcome(retention.look(), "files of backups").going
    removed = outcome(retention.apply(), "files of backups").removed
    assert (seen, removed, left.exists()) == (1, 1, False)


def test_a_stopped_pipeline_is_left_alone_and_the_others_are_not(retention, services) -> None:
    with services.database.transaction() as connection:
        connection.execute("INSERT INTO pipelines (pipeline_id) VALUES ('advisory_performance')")
        stop(connection, "advisory_performance", by="somebody", reason=None, now=NOW)
    done = [one.place for one in retention.apply()]
    cleaned = [one for one in done if one.endswith(": temporary files, resolved quarantine")]
    assert cleaned == [f"{PIPELINE}: temporary files, resolved quarantine"]


def test_the_nightly_job_forgets_and_says_what(settings) -> None:
    with running(settings) as platform:
        observe(platform.services, "a", 0)
        observe(platform.services, "a", 500)
        run = platform.run("operations_retention")
        (output,) = [one for one in run.all_events if one.event_type_value == "STEP_OUTPUT"]
    assert (run.success, output.step_output_data.metadata["removed"].value) == (True, 1)


def test_every_place_names_its_limit_and_its_row(retention) -> None:
    assert [one.place for one in retention.look() if not (one.kept_days and one.requirements)] == []


def test_every_pipeline_has_its_places(retention) -> None:
    places = [one.place for one in retention.look()]
    assert [name for name in runbooks() if f"{name}: archived files" not in places] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tables: tables.pop("incidents"),
        lambda tables: tables.update(weather=tables["incidents"]),
    ],
)
def test_a_table_without_a_limit_and_a_limit_without_a_table_are_errors(
    spoil: Callable[[dict[str, object]], object],
) -> None:
    told = PLAN.model_dump()
    spoil(told["tables"])
    with pytest.raises(ValueError, match=r"incidents|weather"):
        RetentionPlan.model_validate(told)


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def weather() -> None:
    """Make nothing."""


ASSET = weather


@dg.asset_check(asset=weather, name="is_fine")
def weather_is_fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def made(instance: dg.DagsterInstance, partition: str) -> str:
    return dg.materialize([weather], instance=instance, partition_key=partition).run_id


def checked(instance: dg.DagsterInstance) -> str:
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(weather_is_fine))
    definitions = dg.Definitions([weather], asset_checks=[weather_is_fine], jobs=[job])
    return definitions.resolve_job_def("checks").execute_in_process(instance=instance).run_id


def later() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_old_files_of_the_log_go(services: Services, retention: Retention) -> None:
    folder = folder_of(services.settings)
    folder.mkdir(parents=True)
    for days in (31, 1):
        path = folder / f"{ago(days).date()}.jsonl"
        path.touch()
        os.utime(path, (ago(days).timestamp(), ago(days).timestamp()))
    seen = outcome(retention.look(), "log files")
    removed = outcome(retention.apply(), "log files")
    assert (seen.held, seen.going, removed.removed) == (2, 1, 1)
    assert [path.stem for path in folder.iterdir()] == [str(ago(1).date())]
