"""Pages of pipelines: what each section says of a real database and lake, and the asset's page."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.growth import record_size
from pipeline_platform.operations.plan import alertings, runbooks
from pipeline_platform.operations.present import present_of
from pipeline_platform.operations.reports import periods, reviews, state
from pipeline_platform.operations.reports.catalog import REPORTS, make_page
from pipeline_platform.operations.reports.pages import Page, html
from pipeline_platform.operations.reports.reviewed import (
    FailedRun,
    LateAsset,
    Present,
    Reviewed,
    Run,
)
from pipeline_platform.orchestration.reports import page_asset, page_key
from pipeline_platform.quality.measurements import Verdict
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.runbook import CapacityLimit, Runbook
from pipeline_platform.services import Services
from pipeline_platform.warehouse.control import request_partitions
from pipeline_platform.warehouse.proposals import begin_proposal
from pipeline_platform.warehouse.report_pages import keep_page, kept_page
from pipeline_platform.warehouse.run_records import EndedRun, RunError, Task, record_run
from pipeline_platform.warehouse.stops import EVERYTHING, stop
from pipeline_platform.web_events.automation import maintain_job
from tests.assets.platform_runs import running
from tests.integration.operations.test_alerting import Desk
from tests.unit.operations.broken_things import finding

NOW = datetime(2026, 3, 1, 9, 10, tzinfo=UTC)
PIPELINE = "web_events"
RUNBOOK = runbooks()[PIPELINE]
HOUR = timedelta(hours=1)


@pytest.fixture
def services(settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def reviewed(services: Services) -> Reviewed:
    return Reviewed(services, RUNBOOK, NOW - timedelta(days=7), NOW, NOW, Present())


def commands(rows: Sequence[Any]) -> list[object]:
    return [row["command"] for row in rows]


def observe(services: Services, check: str, *, now: datetime = NOW - HOUR, **given: object) -> None:
    """Keep a verdict of a check; by default it failed an hour ago."""
    bad = {"outcome": "fail", "severity": "warning", "limit": 1.0, "sentence": f"{check} is bad."}
    asset = RUNBOOK.thresholds[check].asset
    with services.database.transaction() as connection:
        record_verdict(
            connection, PIPELINE, Verdict(check, **{**bad, **given}), now=now, asset_key=asset
        )


def hold_row(services: Services, at: datetime) -> None:
    with services.database.transaction() as connection:
        connection.execute(
            "INSERT INTO quarantined_rows (pipeline, hop, file_sha256, file_name, line_number,"
            " rule, reason, run_id, quarantined_at) VALUES"
            " (%s, 'landing_to_bronze', 'a', 'f', 1, 'unreadable', 'no JSON', 'run', %s)",
            (PIPELINE, at),
        )


def waiting_file(services: Services, at: datetime) -> None:
    path = Path(services.settings.raw_location) / PIPELINE / "incoming" / "events_1.ndjson"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    os.utime(path, (at.timestamp(), at.timestamp()))


def a_run(status: str = "FAILURE") -> Run:
    return Run("run-1", "web_events_ingest", status, None, NOW - HOUR, NOW - HOUR / 2)


def keep_costs(services: Services, **by_month: float) -> None:
    """Store a service's cost on the first day of months, and that it was read."""
    with services.database.transaction() as connection:
        connection.execute(
            "INSERT INTO cost_readings (read_at, first_date, last_date, is_read) VALUES"
            " (%s, %s, %s, true)",
            (NOW, date(2026, 1, 1), date(2026, 2, 28)),
        )
        for month, amount in by_month.items():
            day = date(2026, int(month[1:]), 1)
            connection.execute(
                "INSERT INTO daily_cost (usage_date, currency, is_estimated, read_at)"
                " VALUES (%s, 'USD', false, %s)",
                (day, NOW),
            )
            connection.execute(
                "INSERT INTO daily_service_cost (usage_date, service, amount) VALUES (%s, %s, %s)",
                (day, "AWS Glue", amount),
            )


class TestFailed:
    def test_nothing_says_so(self, reviewed) -> None:
        assert state.what_failed(reviewed).sentence == "Nothing."

    def test_a_failed_check_has_the_command_of_its_route(self, reviewed, services) -> None:
        observe(services, "quality_drop")
        assert commands(state.what_failed(reviewed).rows) == [
            "pipeline-platform quarantine replay --pipeline web_events --process"
        ]

    def test_a_failed_run_has_the_command_of_the_route_of_failed_runs(self, reviewed) -> None:
        failed = FailedRun(a_run(), "web_events_ingest", "A run of web_events_ingest failed.")
        present = Present(failed=[failed])
        (row,) = state.what_failed(replace(reviewed, present=present)).rows
        assert (row["what"], row["command"]) == (
            "A run of web_events_ingest failed.",
            "pipeline-platform partitions process --pipeline web_events",
        )

    @pytest.mark.parametrize("name", ["quality_drop", "cost_increase", "unsaved_tables"])
    def test_what_is_part_of_an_incident_is_told_once(self, reviewed, services, name) -> None:
        observe(services, name)
        threshold = RUNBOOK.thresholds[name]
        broken = finding(name=f"check:{threshold.asset}:{threshold.check}", subject=threshold.asset)
        Desk(services, None).round(broken)
        (row,) = state.what_failed(reviewed).rows
        assert str(row["what"]).startswith("incident 1")


class TestLate:
    @pytest.mark.parametrize(("age", "count"), [(HOUR * 2, 1), (HOUR / 2, 0)])
    def test_a_file_that_waits_longer_than_the_runbook_says(
        self, reviewed, services, age: timedelta, count: int
    ) -> None:
        waiting_file(services, NOW - age)
        assert state.what_is_late(reviewed).count == count + 1  # and the checks

    @pytest.mark.parametrize(("age", "count"), [(HOUR * 2, 1), (HOUR / 2, 0)])
    def test_a_day_that_waits_to_be_computed(
        self, reviewed, services, age: timedelta, count: int
    ) -> None:
        with services.database.transaction() as connection:
            request_partitions(connection, PIPELINE, ["2026-02-28"], now=NOW - age)
        found = [str(row["what"]) for row in state.what_is_late(reviewed).rows]
        assert found.count("not computed yet: 2026-02-28") == count

    @pytest.mark.parametrize(
        ("severity", "words"),
        [
            ("critical", "is overdue"),
            ("warning", "will soon be overdue"),
            (None, "was never judged: is the daemon on?"),
        ],
    )
    def test_an_asset_past_its_freshness(self, reviewed, severity, words: str) -> None:
        present = Present(late=[LateAsset("web_events/silver/web_events", severity, NOW - HOUR)])
        row = state.what_is_late(replace(reviewed, present=present)).rows[0]
        assert row["what"] == f"web_events/silver/web_events {words}"

    def test_checks_that_nobody_evaluated(self, reviewed) -> None:
        (row,) = state.what_is_late(reviewed).rows
        assert row["command"] == "pipeline-platform check web_events"

    def test_a_silent_daemon(self, reviewed) -> None:
        found = state.what_is_late(replace(reviewed, present=Present(silent_daemons=["SENSOR"])))
        assert found.rows[-1]["what"] == "Dagster's daemon is silent: SENSOR"


class TestWaitsForAPerson:
    def test_held_records_are_counted_by_rule(self, reviewed, services) -> None:
        hold_row(services, NOW - HOUR)
        (row,) = state.what_waits_for_a_person(reviewed).rows
        assert row == {
            "what": "1 rows in quarantine: unreadable 1",
            "since": "2026-03-01 08:10",
            "command": "pipeline-platform quarantine list --pipeline web_events --kind rows",
        }

    def test_a_proposal_has_the_command_of_the_runbook(self, reviewed, services) -> None:
        with services.database.transaction() as connection:
            begin_proposal(connection, "r-1", PIPELINE, "silver/events", made_with={}, now=NOW)
        assert commands(state.what_waits_for_a_person(reviewed).rows) == [
            "pipeline-platform web relabel show r-1"
        ]

    def test_an_incident_that_nobody_answered(self, reviewed, services) -> None:
        Desk(services, None).round(finding())
        assert commands(state.what_waits_for_a_person(reviewed).rows) == [
            "pipeline-platform incidents acknowledge 1"
        ]

    @pytest.mark.parametrize(
        ("scope", "command"),
        [(PIPELINE, "pipelines resume web_events"), (EVERYTHING, "pipelines resume")],
    )
    def test_a_stop(self, reviewed, services, scope: str, command: str) -> None:
        with services.database.transaction() as connection:
            connection.execute("INSERT INTO pipelines (pipeline_id) VALUES (%s)", (PIPELINE,))
            stop(connection, scope, by="somebody", reason=None, now=NOW)
        assert commands(state.what_waits_for_a_person(reviewed).rows) == [
            f"pipeline-platform {command}"
        ]


def test_what_ran_is_told_by_job(reviewed) -> None:
    runs = [a_run("SUCCESS"), a_run(), replace(a_run("STARTED"), ended_at=None)]
    found = state.what_ran(replace(reviewed, present=Present(runs=runs)))
    (row,) = found.rows
    assert [row[name] for name in ("runs", "failed", "not ended", "median s")] == [3, 1, 1, 1800]
    assert found.sentence == "3 runs in the last day, 1 failed, 1 not ended."


class TestPeriod:
    def test_files_and_records_stand_against_the_period_before(self, reviewed, services) -> None:
        add_file(services, NOW - HOUR, records=90, held=10, seconds=4)
        add_file(services, NOW - timedelta(days=8), records=50)
        found = {row["figure"]: row for row in periods.totals(reviewed).rows}
        assert [
            [found[name][column] for column in ("period", "period before")]
            for name in ("files", "records processed", "mean seconds per file")
        ] == [[1, 1], [90, 50], [4.0, 1.0]]

    def test_error_rates_of_files_and_of_records_by_vendor(self, reviewed, services) -> None:
        add_file(services, NOW - HOUR, records=90, held=10)
        add_file(services, NOW - HOUR, records=0, status="QUARANTINED")
        (row,) = periods.vendors(reviewed).rows
        assert [row[name] for name in ("vendor", "files", "refused %", "held %")] == [
            *("north", 2, 50.0, 10.0)
        ]

    def test_each_dimension_of_the_score_has_its_trend(self, reviewed, services) -> None:
        for day, validity in ((3, 80.0), (2, 90.0)):
            observe(services, "data_quality_score", outcome="pass", value=validity + 5,
                    now=NOW - timedelta(days=day), parts={"validity": validity})  # fmt: skip
        found = periods.quality_trend(reviewed)
        assert {row["dimension"]: row["mean"] for row in found.rows} == {
            "overall": 90.0,
            "validity": 85.0,
        }
        assert [list(plot.points) for plot in found.plots][1] == [
            ("2026-02-26", 80.0),
            ("2026-02-27", 90.0),
        ]

    def test_completed_tasks_are_counted_by_day(self, reviewed, services) -> None:
        end_run(services, NOW - HOUR, Task("a", True, 1), Task("b", False, 1))
        end_run(services, NOW - timedelta(days=2), Task("a", True, 1))
        rows = periods.work_by_day(reviewed).rows
        assert [(row["day"], row["completed_tasks"], row["failed_tasks"]) for row in rows] == [
            ("2026-02-27", 1, 0),
            ("2026-03-01", 1, 1),
        ]

    def test_jobs_tell_their_stages_and_failures_their_class(self, reviewed, services) -> None:
        end_run(services, NOW - HOUR, Task("a", False, 2, "loading"))
        assert periods.jobs(reviewed).rows[0]["loading s"] == 2.0
        assert periods.failures(reviewed).rows[0]["failure"] == "UnavailableError"

    def test_arrivals_are_counted_by_hour(self, reviewed, services) -> None:
        add_file(services, NOW - HOUR, records=90, held=10)
        (row,) = periods.hours(reviewed).rows
        assert row == {
            "hour": "2026-03-01 08:00", "arrived": 100, "published": 90, "rejected": 10,
        }  # fmt: skip

    def test_a_service_level_that_nobody_watched_is_not_measured(self, reviewed) -> None:
        assert "not measured" in periods.service_level(reviewed).sentence


class TestMonth:
    def test_cost_without_a_source_is_not_configured(self, reviewed) -> None:
        assert reviews.cost_by_service(reviewed).sentence.startswith("Not configured")

    def test_cost_of_the_last_month_is_shown_against_the_month_before(self, settings) -> None:
        paid = settings.model_copy(update={"cost_source": "cost_explorer"})
        with Services(paid) as services:
            keep_costs(services, m1=40, m2=50)
            found = reviews.cost_by_service(Reviewed(services, RUNBOOK, NOW, NOW, NOW, Present()))
        assert found.title == "Cost of 2026-02 by service"
        assert found.rows == ({"service": "AWS Glue", "cost": "50.00", "before": "40.00"},)
        assert found.sentence == "50.00 USD, 40.00 before; 1 of 28 days are known."

    def test_a_month_that_was_never_read_is_not_measurable(self, settings) -> None:
        with Services(settings.model_copy(update={"cost_source": "cost_explorer"})) as services:
            found = reviews.cost_by_service(Reviewed(services, RUNBOOK, NOW, NOW, NOW, Present()))
        assert found.sentence == "Not measurable: no day of it was read."

    def test_old_temporary_files_are_listed_and_left(self, reviewed, settings) -> None:
        path = Path(settings.temp_location) / "left" / "behind"
        path.parent.mkdir(parents=True)
        path.write_text("x")
        old = (NOW - timedelta(days=8)).timestamp()
        os.utime(path, (old, old))
        found = reviews.temporary_files(reviewed)
        assert ([row["file"] for row in found.rows], path.exists()) == ([str(path)], True)

    def test_a_limit_that_is_met_is_told(self, reviewed, services) -> None:
        with services.database.transaction() as connection:
            for back in range(40):
                record_size(connection, "disk", (NOW - timedelta(days=back)).date(), 1000 - back)
        limits = {"disk/bytes": CapacityLimit(limit=900, requirements=["SW-66"])}
        runbook = RUNBOOK.model_copy(update={"capacity": limits})
        found = reviews.capacity(replace(reviewed, runbook=runbook))
        assert [row["series"] for row in found.rows] == ["database: size", "disk: size"]
        assert found.sentence == "1 of 1 limits are met within 90 days."

    def test_growth_is_told_by_month_of_creation(self, reviewed, services) -> None:
        with services.database.transaction() as connection:
            connection.execute(
                "CREATE TABLE growing AS SELECT i, %s::timestamptz - i * interval '20 days'"
                " AS created_at FROM generate_series(0, 2) AS numbers (i)",
                (NOW,),
            )
        reports = RUNBOOK.reports.model_copy(update={"growing_tables": ["growing"]})
        runbook = RUNBOOK.model_copy(update={"reports": reports})
        rows = reviews.database_growth(replace(reviewed, runbook=runbook)).rows
        assert [(row["month"], row["row_count"]) for row in rows] == [
            ("2026-03", 1),
            ("2026-02", 1),
            ("2026-01", 1),
        ]


@pytest.mark.parametrize("name", REPORTS)
def test_a_pipeline_that_is_a_runbook_only_has_every_page(services, name) -> None:
    page = make_page(services, weather(), name, Present(), now=NOW)
    assert page.unanswered == []
    assert {one.kind for one in page.sections} == {"failed", "late", "waits", "ran", "detail"}


def test_a_section_that_fails_is_told_and_the_others_are_answered(services) -> None:
    reports = RUNBOOK.reports.model_copy(update={"growing_tables": ["nowhere"]})
    runbook = RUNBOOK.model_copy(update={"reports": reports})
    page = make_page(services, runbook, "monthly_review", Present(), now=NOW)
    assert page.unanswered == [
        "PostgreSQL has no table nowhere; correct reports.growing_tables in the runbook."
    ]
    assert len(page.sections) == len(REPORTS["monthly_review"].sections)


def test_the_run_of_a_page_that_is_not_answered_fails_and_the_page_is_kept(services) -> None:
    reports = RUNBOOK.reports.model_copy(update={"growing_tables": ["nowhere"]})
    runbook = RUNBOOK.model_copy(update={"reports": reports})
    asset = page_asset(runbook, "monthly_review")
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            [asset], instance=instance, resources={"services": services}, raise_on_error=False
        )
    assert not run.success
    with services.database.connection() as connection:
        assert kept_page(connection, PIPELINE, "monthly_review", None) is not None


def test_the_asset_leads_to_its_page(settings) -> None:
    served = settings.model_copy(update={"api_url": "http://127.0.0.1:4020"})
    with running(served) as platform:
        assert platform.run(f"{PIPELINE}_monthly_review").success
        made = platform.instance.get_latest_materialization_event(
            page_key(PIPELINE, "monthly_review")
        )
        with platform.services.database.connection() as connection:
            kept = Page.from_json(kept_page(connection, PIPELINE, "monthly_review", None))
    told = made.asset_materialization.metadata
    assert told["open"].value == (
        f"http://127.0.0.1:4020/reports/web_events/monthly_review/{kept.day}"
    )
    assert told["page"].value.startswith(f"# Monthly review: web_events, {kept.day}")


def test_a_kept_page_has_its_columns_in_their_order(services) -> None:
    page = make_page(services, RUNBOOK, "morning_check", Present(runs=[a_run()]), now=NOW)
    with services.database.transaction() as connection:
        keep_page(connection, page.day, page.to_json(), made_at=NOW, run_id=None)
        kept = Page.from_json(kept_page(connection, PIPELINE, "morning_check", page.day))
    assert html(kept) == html(page)


def test_dagster_tells_what_ran_and_what_nothing_made_good(settings) -> None:
    with running(settings) as platform:
        run = dg.DagsterRun(job_name="web_events_ingest", status=dg.DagsterRunStatus.FAILURE)
        platform.instance.add_run(run)
        present = present_of(platform.instance, RUNBOOK, datetime.now(UTC))
    assert [one.job for one in present.runs] == ["web_events_ingest"]
    assert [one.why for one in present.failed] == [
        "A run of web_events_ingest failed before or between its steps."
    ]


def test_a_failed_run_that_was_started_from_the_ui_is_told_once(settings, reviewed) -> None:
    with running(settings) as platform:
        asset = dg.AssetKey([PIPELINE, "bronze", "raw_events"])
        failed_from_the_ui(platform.instance, asset)
        now, graph = datetime.now(UTC), platform.definitions.resolve_asset_graph()
        log = EventLog(platform.instance, graph, alertings(), is_watching_freshness=False)
        Desk(platform.services, None).round(*log.read({}, now).findings)
        present = present_of(platform.instance, RUNBOOK, now)
    told = [str(row["what"]) for row in state.what_failed(replace(reviewed, present=present)).rows]
    assert [one.split(":")[0] for one in told] == ["incident 1"]


def failed_from_the_ui(instance: dg.DagsterInstance, asset: dg.AssetKey) -> None:
    """Note a run as Dagster does that somebody started for one asset, and that failed."""
    run = dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=frozenset({asset}))
    instance.add_run(run)
    instance.report_run_failed(run)


def test_month_and_week_and_maintenance_wait_for_each_other() -> None:
    pools = [page_asset(RUNBOOK, name).op.pool for name in ("weekly_report", "monthly_review")]
    pools += [node.definition.pool for node in maintain_job.graph.nodes]
    assert set(pools) == {f"{PIPELINE}_maintenance"}


def weather() -> Runbook:
    """A pipeline that nothing but its runbook says anything of."""
    return RUNBOOK.model_copy(update={"pipeline": "weather"})


def add_file(
    services: Services,
    at: datetime,
    *,
    records: int,
    held: int = 0,
    seconds: int = 1,
    status: str = "COMPLETED",
) -> None:
    sha256 = f"{at.timestamp()}-{records}-{status}"
    with services.database.transaction() as connection:
        connection.execute(
            "INSERT INTO vendors (vendor, display_name) VALUES ('north', 'North')"
            " ON CONFLICT DO NOTHING"
        )
        connection.execute(
            "INSERT INTO etl_processing_log (pipeline, file_name, file_sha256, vendor, status,"
            " records_processed, records_quarantined, size_bytes, arrived_at,"
            " processing_start_time, processing_end_time, run_id)"
            " VALUES (%s, 'f', %s, 'north', %s, %s, %s, 1, %s, %s, %s, 'run')",
            (PIPELINE, sha256, status, records, held, at, at, at + timedelta(seconds=seconds)),
        )
        connection.execute(
            "INSERT INTO conservation_ledger VALUES"
            " (%s, 'landing_to_bronze', %s, 'all', %s, %s, %s, 0, 0, 'run')",
            (PIPELINE, sha256, records + held, records, held),
        )


def end_run(services: Services, at: datetime, *tasks: Task) -> None:
    errors = [RunError(one.name, "UnavailableError", "Gone.") for one in tasks if not one.succeeded]
    ended = EndedRun(
        f"run-{at}", PIPELINE, "web_events_ingest", "FAILURE" if errors else "SUCCESS",
        at, at, at, tasks, errors,
    )  # fmt: skip
    with services.database.transaction() as connection:
        record_run(connection, ended)


@pytest.mark.parametrize(
    ("name", "first", "end"),
    [
        ("end_of_day", NOW - timedelta(days=1), NOW),
        ("weekly_report", NOW - timedelta(days=7), NOW),
        ("monthly_review", datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_page_is_about_its_period(name: str, first: datetime, end: datetime) -> None:
    assert REPORTS[name].period(NOW) == (first, end)
