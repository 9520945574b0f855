"""Every threshold of the runbook meets data or a state that breaks it, and says so (B-14).

Nothing is stubbed: files are delivered, sessions are opened, tables are locked, runs fail. The
tests go over the runbook itself, so that a threshold nobody breaks here turns them red.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from pipeline_platform.advisory_performance import ingestion, measurement, refinement, serving
from pipeline_platform.advisory_performance.measures import MEASURES, Scope
from pipeline_platform.advisory_performance.run_context import RunContext, load_runbook
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.operations.cost_readings import cost_measures, read_costs
from pipeline_platform.operations.plan import operations_plan
from pipeline_platform.orchestration.pipeline_runs import work_tags
from pipeline_platform.partition_ranges import month_of, shifted
from pipeline_platform.quality.audit import judged
from pipeline_platform.quality.measurements import Verdict
from pipeline_platform.quality.measures import files_in_time, measure
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.recovery.backup_sets import BackupSets, PlatformBackup
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.drills import drill
from pipeline_platform.recovery.verification import verify_backup
from pipeline_platform.refinement import StagedSilver
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import MUTATION_SCORE
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.activity import foreign_queries
from pipeline_platform.warehouse.processor_use import processor_time, record_sample
from tests.assets.broken_promises import keep_incident, keep_probes, keep_steps
from tests.assets.platform_runs import OCTOBER, deliver, running, settings_at
from tests.drills.small_disk import fill, small_disk
from tests.integration.landing.local_s3 import running_server
from tests.integration.operations.local_costs import LocalCosts, results_by_time, steady
from tests.integration.quality.mutated_tables import mutation_verdict

RUNBOOK = load_runbook()
HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)
ACCOUNTS = 110
DAYS = [date(2024, 10, day) for day in (1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 15, 16, 17)]
UNPUBLISHED = {one.name for one in RUNBOOK.blocking_thresholds}
ALL_MEASURES = {**MEASURES, **cost_measures(RUNBOOK)}
BANDS = [(name, band.severity) for name, one in RUNBOOK.thresholds.items() for band in one.bands]


def bad_month() -> str:
    """Values and returns of a month that is bad enough to warn of, but not to be refused.

    Thirty values of the 10th are missing, thirty records have a currency that does not exist, and
    on the last day half of the reported returns are off by a percent.
    """
    chance = random.Random(20241017)
    lines = [HEADER]
    for number in range(ACCOUNTS):
        value, before = 1_000_000.0, None
        for place, day in enumerate(DAYS):
            value = round(value * (1 + chance.uniform(-0.01, 0.01)), 2) if before else value
            figure = ""
            if before:
                wrong = 0.01 if day == DAYS[-1] and number % 2 else chance.uniform(-5e-6, 5e-6)
                figure = f"{value / before - 1 + wrong:.8f}"
            before = value
            if place == 7 and number < 30:
                continue
            lines.append(f"A{number},{day},{value:.2f},,,{figure},daily,USD\n")
    lines += [f"X{number},{DAYS[0]},1000.00,,,,,QQQ\n" for number in range(30)]
    return "".join(lines)


@dataclass(frozen=True)
class State:
    """A platform in a bad state, and what else a scenario needs."""

    services: Services
    request: pytest.FixtureRequest

    def scope(self, *, ahead: timedelta = timedelta(0), months=(OCTOBER,), runs=None) -> Scope:
        run = RunContext(self.services, "check", clock=lambda: datetime.now(UTC) + ahead)
        return Scope(run, months, runs)

    def verdict(self, name: str, **scope: object) -> Verdict:
        if name == MUTATION_SCORE:
            return mutation_verdict(self.scope().run)
        return measure(self.scope(**scope), RUNBOOK.thresholds[name], ALL_MEASURES)[1]


@pytest.fixture(scope="module")
def bad(new_database, tmp_path_factory) -> Iterator[tuple[Services, StagedSilver]]:
    settings = settings_at(tmp_path_factory.mktemp("bad"), new_database())
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    deliver(settings, "standard_bad.csv", bad_month().encode(), arrived_at=two_days_ago)
    with Services(settings) as services:
        run = RunContext(services, "bad")
        list(ingestion.ingest_arrivals(run))
        staged = refinement.stage_months(run, [OCTOBER])
        refinement.publish_months(run, staged)
        for work in (measurement.measure_range, measurement.reconcile_range, serving.serve_months):
            list(work(run, [OCTOBER]))
        yield services, staged


@pytest.fixture(scope="module")
def own_server(tmp_path_factory) -> Iterator[Services]:
    """An embedded server of its own: load and sessions are its own, too."""
    settings = Settings(home=tmp_path_factory.mktemp("server"), environment="test")
    embedded.start(settings, is_durable=False)
    try:
        with Services(settings) as services:
            yield services
    finally:
        embedded.stop(settings)


@pytest.fixture(scope="module")
def empty(new_database, tmp_path_factory) -> Iterator[Services]:
    with Services(settings_at(tmp_path_factory.mktemp("empty"), new_database())) as services:
        yield services


@pytest.fixture
def services(settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


def of_bad_month(name: str, **scope: object) -> Callable[[State], Verdict]:
    """Measure a threshold on the bad month."""

    def measured(state: State) -> Verdict:
        services, _ = state.request.getfixturevalue("bad")
        return State(services, state.request).verdict(name, **scope)

    return measured


def audited(state: State, name: str, ledger) -> Verdict:
    return next(
        verdict
        for one, _, verdict in judged(ledger, RUNBOOK.blocking_thresholds)
        if one.name == name
    )


def mostly_invalid(state: State) -> Verdict:
    rows = "".join(f"B{number},2024-10-31,1000.00,,,,,QQQ\n" for number in range(100))
    deliver(state.services.settings, "standard_1.csv", (HEADER + rows).encode())
    run = RunContext(state.services, "invalid")
    list(ingestion.ingest_arrivals(run))
    return audited(state, "data_validity", refinement.stage_months(run, [OCTOBER]).ledger)


def partly_invalid(state: State) -> Verdict:
    _, staged = state.request.getfixturevalue("bad")
    return audited(state, "data_validity", staged.ledger)


def lost_rows(state: State) -> Verdict:
    """Let bronze lose a file's rows after they were recorded as published."""
    row = "A,2024-10-31,1,,,,,USD\n"
    deliver(state.services.settings, "standard_1.csv", (HEADER + row).encode())
    run, lake = RunContext(state.services, "loss"), state.services.lake
    (ingested,) = ingestion.ingest_arrivals(run)
    nothing = lake.stage(VENDOR_ROWS, VENDOR_ROWS.schema.empty_table(), run_id="x", partition="x")
    lake.publish(nothing, replace=f"file_sha256 == '{ingested.sha256}'", properties={})
    staged = refinement.stage_months(run, [OCTOBER])
    return next(verdict for one, _, verdict in staged.verdicts if one.name == "conservation")


def refused_file(state: State) -> Verdict:
    deliver(state.services.settings, "holiday.bin", b"x")
    list(ingestion.ingest_arrivals(RunContext(state.services, "refused")))
    return state.verdict("refused_files")


def slow_ingest(state: State) -> Verdict:
    deliver(
        state.services.settings, "standard_1.csv", (HEADER + "A,2024-10-31,1,,,,,USD\n").encode()
    )
    minutes = count()
    began = datetime.now(UTC) - timedelta(hours=5)
    run = RunContext(
        state.services, "slow", clock=lambda: began + timedelta(minutes=10 * next(minutes))
    )
    list(ingestion.ingest_arrivals(run))
    return state.verdict("processing_time_per_file")


def stranded_file(state: State) -> Verdict:
    deliver(state.services.settings, "standard_1.csv", b"x")
    state.services.landing(PIPELINE).claim("standard_1.csv")
    return state.verdict("oldest_file_in_processing", ahead=timedelta(minutes=31))


def backup_of(state: State) -> tuple[BackupSets, PlatformBackup]:
    """Back up a lake of one file."""
    services = state.services
    row = f"{HEADER}A,2024-10-31,1,,,,,USD\n"
    deliver(services.settings, "standard_1.csv", row.encode())
    list(ingestion.ingest_arrivals(RunContext(services, "saved")))
    made = create_backup(services, reason="test", clock=utc_now, has_database=False)
    return BackupSets(services.settings), made


def late_second_copy(state: State) -> Verdict:
    """Name a second place to which nothing was copied since."""
    settings = state.services.settings
    there = {"second_backups_location": str(settings.home / "second")}
    with Services(settings.model_copy(update=there)) as services:
        return replace(state, services=services).verdict(
            "second_copy_age", ahead=timedelta(hours=27)
        )


def damaged_backup(state: State) -> Verdict:
    sets, made = backup_of(state)
    next(Path(sets.store.location).glob("lake/**/*.parquet")).write_bytes(b"broken")
    verify_backup(sets, made, utc_now())
    return state.verdict("backup_faults")


def slow_drill(state: State) -> Verdict:
    """Keep the result of a drill as one that took four hours longer."""
    sets, made = backup_of(state)
    drilled = drill(state.services.settings, sets, made, clock=utc_now)
    slow = drilled.model_copy(update={"seconds": 4.1 * 3600})
    sets.store.put("drills/9999.json", slow.model_dump_json().encode())
    return state.verdict("recovery_time")


def row_in_default_partition(state: State) -> Verdict:
    with state.services.database.transaction() as connection:
        connection.execute("INSERT INTO vendors (vendor, display_name) VALUES ('v', 'V')")
        connection.execute("CREATE TABLE stray PARTITION OF performance_data DEFAULT")
        connection.execute(
            "INSERT INTO performance_data (account_id, as_of_date, data_source, currency,"
            " account_class, market_value, net_external_flow, reconciliation_status,"
            " return_status, is_estimated, record_start_date, run_id)"
            " VALUES ('A', '2024-10-31', 'v', 'USD', 'standard', 1, 0, 'PENDING', 'inception',"
            " false, '2024-10-31', 'stray')"
        )
    return state.verdict("default_partition_rows")


def load_of_server(state: State, *loads: tuple[int, float]) -> Verdict:
    """Judge what is left of a server's recorded samples: minutes and share of the processors.

    The last sample is taken for real. Those before it are recorded here as what the server would
    have used by then, for a test can't keep all processors busy for minutes.
    """
    own = state.request.getfixturevalue("own_server")
    counter = processor_time(embedded.status(own.settings).pid)
    at = datetime.now(UTC)
    with own.database.transaction() as connection:
        connection.execute("TRUNCATE processor_samples")
        for minutes, share in reversed(loads):
            at -= timedelta(minutes=minutes)
            used = share * minutes * 60 * (os.cpu_count() or 1)
            counter = replace(counter, processor_seconds=counter.processor_seconds - used)
            record_sample(connection, counter, now=at)
    return State(own, state.request).verdict("database_cpu")


def loaded_server(state: State) -> Verdict:
    return load_of_server(state, (5, 0.1), (5, 0.9), (4, 0.1))


def many_sessions(name: str) -> Callable[[State], Verdict]:
    def measured(state: State) -> Verdict:
        own = state.request.getfixturevalue("own_server")
        with ExitStack() as sessions:
            for _ in range(80):
                sessions.enter_context(psycopg.connect(own.database.url))
            return State(own, state.request).verdict(name)

    return measured


def locked_table(state: State) -> Verdict:
    is_locked = threading.Event()

    def hold() -> None:
        with psycopg.connect(state.services.database.url) as connection:
            connection.execute("LOCK TABLE performance_data IN ACCESS EXCLUSIVE MODE")
            is_locked.set()
            time.sleep(5.3)

    holder = threading.Thread(target=hold)
    holder.start()
    is_locked.wait(10)
    try:
        return state.verdict("database_query_response")
    finally:
        holder.join()


def endless_query(state: State) -> Verdict:
    """Let somebody else's query be at work, and look six minutes later."""
    own = state.request.getfixturevalue("own_server")
    with psycopg.connect(own.database.url) as session, ThreadPoolExecutor(1) as pool:
        query = pool.submit(session.execute, "SELECT pg_sleep(60)")
        try:
            with own.database.connection() as connection:
                while not foreign_queries(connection):
                    time.sleep(0.01)
            return State(own, state.request).verdict("longest_query", ahead=timedelta(minutes=6))
        finally:
            session.cancel()
            query.exception()


def full_disk(state: State) -> Verdict:
    with small_disk(state.request.getfixturevalue("tmp_path"), 4) as disk:
        fill(disk)
        settings = state.services.settings.model_copy(update={"temp_location": str(disk)})
        with Services(settings) as services:
            return State(services, state.request).verdict("disk_used")


def damaged_file(state: State) -> Verdict:
    """Cut a file of bronze."""
    row = f"{HEADER}A,2024-10-31,1,,,,,USD\n"
    deliver(state.services.settings, "standard_1.csv", row.encode())
    list(ingestion.ingest_arrivals(RunContext(state.services, "cut")))
    next(Path(state.services.settings.processed_location).glob("**/*.parquet")).write_bytes(b"x")
    return state.verdict("damaged_files")


def deleted_by_hand(state: State) -> Verdict:
    row = f"{HEADER}A,2024-10-31,1,,,,,USD\n"
    deliver(state.services.settings, "standard_1.csv", row.encode())
    list(ingestion.ingest_arrivals(RunContext(state.services, "deleted")))
    state.services.lake.iceberg(VENDOR_ROWS).delete()
    return state.verdict("foreign_commits")


def failed_runs(state: State) -> Verdict:
    """Let twenty runs end, one of them badly, and evaluate the check through its job."""

    @dg.op
    def work(context: dg.OpExecutionContext) -> None:
        if "fails" in context.run.tags:
            raise RuntimeError("It fails.")

    @dg.job(name=f"{PIPELINE}_probe", tags=work_tags(PIPELINE))
    def probe() -> None:
        work()

    with running(state.services.settings) as platform:
        for number in range(20):
            probe.execute_in_process(
                instance=platform.instance,
                raise_on_error=False,
                tags={"fails": "yes"} if number == 7 else {},
            )
        result = platform.run(f"{PIPELINE}_health")
    (found,) = [
        one
        for one in result.get_asset_check_evaluations()
        if one.check_name == "pipeline_success_rate"
    ]
    severity = {dg.AssetCheckSeverity.ERROR: "critical"}.get(found.severity, "warning")
    return Verdict(
        found.check_name, found.metadata["outcome"].value, severity, 99, found.description or ""
    )


def dear_day(state: State) -> Verdict:
    """Let the Cost Explorer tell, over HTTP, that one day cost half as much again."""
    now = datetime.now(UTC)
    plan = operations_plan().cost
    told = steady(now.date() - timedelta(days=1), plan.read_days, AmazonS3="100.00")
    told[now.date() - timedelta(days=plan.settled_after_days)] = {"AmazonS3": "150.00"}
    paid = state.services.settings.model_copy(update={"cost_source": "cost_explorer"})
    with ExitStack() as stack:
        address = stack.enter_context(running_server(state.request.getfixturevalue("tmp_path")))
        environment = state.request.getfixturevalue("monkeypatch")
        environment.setenv("AWS_ENDPOINT_URL_COST_EXPLORER", address)
        LocalCosts(address).answer(results_by_time(told))
        services = stack.enter_context(Services(paid))
        read_costs(services, now)
        return State(services, state.request).verdict("cost_anomaly")


def nobody_looks(state: State) -> Verdict:
    """Evaluate one check, and none of them for the next two days."""
    with state.services.database.transaction() as connection:
        seen = state.verdict("default_partition_rows")
        record_verdict(connection, PIPELINE, seen, now=datetime.now(UTC))
    return state.verdict("monitoring_gap", ahead=timedelta(days=2))


def contracts_of_one_rule(state: State) -> Verdict:
    services, _ = state.request.getfixturevalue("bad")
    return mutation_verdict(State(services, state.request).scope().run, rules=1)


def unhealthy_hour(state: State) -> Verdict:
    """Fail an hour of two days' probes, and look on the third of next month."""
    month, ahead = third_of_next_month()
    keep_probes(state.services, month, failing_minutes=60)
    return state.verdict("availability", ahead=ahead)


def slowly_mended(state: State) -> Verdict:
    """Mend next month's only incident after half an hour."""
    month, ahead = third_of_next_month()
    keep_probes(state.services, month, failing_minutes=0)
    keep_incident(state.services, PIPELINE, month, minutes=30)
    return state.verdict("mean_time_to_recovery", ahead=ahead)


def slow_steps(seconds: float) -> Callable[[State], Verdict]:
    def measured(state: State) -> Verdict:
        keep_steps(state.services, PIPELINE, datetime.now(UTC), seconds)
        return state.verdict("task_latency")

    return measured


def third_of_next_month() -> tuple[datetime, timedelta]:
    """Return next month's first instant, and how far ahead its third day is."""
    now = datetime.now(UTC)
    month = datetime.combine(shifted(month_of(now.date()), 1), datetime.min.time(), UTC)
    return month, month + timedelta(days=2) - now


BREAKING: dict[tuple[str, str], Callable[[State], Verdict]] = {
    ("availability", "warning"): unhealthy_hour,
    ("mean_time_to_recovery", "warning"): slowly_mended,
    ("task_latency", "info"): slow_steps(300),
    ("task_latency", "warning"): slow_steps(601),
    ("pipeline_success_rate", "critical"): failed_runs,
    ("data_quality_score", "warning"): of_bad_month("data_quality_score"),
    ("reconciliation_pass_rate", "warning"): of_bad_month("reconciliation_pass_rate"),
    ("tolerance_violations", "warning"): of_bad_month("tolerance_violations"),
    ("return_variance", "warning"): of_bad_month("return_variance"),
    ("data_completeness", "warning"): of_bad_month("data_completeness"),
    ("data_validity", "warning"): partly_invalid,
    ("data_validity", "critical"): mostly_invalid,
    ("conservation", "critical"): lost_rows,
    ("refused_files", "warning"): refused_file,
    ("processing_latency", "warning"): of_bad_month("processing_latency"),
    ("processing_time_per_file", "warning"): slow_ingest,
    ("oldest_file_in_processing", "warning"): stranded_file,
    ("vendor_silence", "warning"): of_bad_month("vendor_silence", ahead=timedelta(days=3)),
    ("mutation_score", "warning"): contracts_of_one_rule,
    ("last_closed_month", "warning"): of_bad_month("last_closed_month"),
    ("months_made_ahead", "warning"): lambda state: state.verdict("months_made_ahead"),
    ("default_partition_rows", "warning"): row_in_default_partition,
    ("database_cpu", "warning"): loaded_server,
    ("database_connections", "warning"): many_sessions("database_connections"),
    ("database_connection_share", "warning"): many_sessions("database_connection_share"),
    ("database_query_response", "warning"): locked_table,
    ("unused_indexes", "warning"): lambda state: state.verdict(
        "unused_indexes", ahead=timedelta(days=31)
    ),
    ("longest_query", "warning"): endless_query,
    ("clock_skew", "warning"): lambda state: state.verdict(
        "clock_skew", ahead=timedelta(seconds=31)
    ),
    ("disk_used", "warning"): full_disk,
    ("damaged_files", "critical"): damaged_file,
    ("foreign_commits", "critical"): deleted_by_hand,
    ("cost_anomaly", "warning"): dear_day,
    ("monitoring_gap", "warning"): nobody_looks,
    ("second_copy_age", "warning"): late_second_copy,
    ("backup_age", "warning"): lambda state: state.verdict("backup_age", ahead=timedelta(hours=27)),
    ("recoverable_point", "critical"): lambda state: state.verdict(
        "recoverable_point", ahead=timedelta(minutes=61)
    ),
    ("backup_faults", "critical"): damaged_backup,
    ("recovery_time", "warning"): slow_drill,
}
"""By threshold and severity: data or a state that breaks it, and the verdict on it."""

ALWAYS_MEASURABLE = {
    "oldest_file_in_processing": "pass",  # nothing there is nothing stuck
    "months_made_ahead": "fail",  # no partition was made yet
    "backup_age": "pass",  # without a backup as old as the platform
    "recoverable_point": "pass",
    "default_partition_rows": "pass",
    "database_connections": "pass",
    "database_connection_share": "pass",
    "database_query_response": "pass",
    "longest_query": "pass",
    "clock_skew": "pass",
    "disk_used": "pass",
}
"""Thresholds that a platform without any data can be judged by, and how it is."""


def delivered_late(services: Services, minutes: int, runbook=RUNBOOK) -> tuple[int, int]:
    """Ask in the past, by the run's clock, for a file that arrived so many minutes before."""
    arrived_at = datetime(2024, 11, 1, 6, tzinfo=UTC)
    content = f"{HEADER}A,{OCTOBER},1,,,,,USD\n".encode()
    deliver(services.settings, "standard_1.csv", content, arrived_at=arrived_at)
    now = arrived_at + timedelta(minutes=minutes)
    run = RunContext(services, "late", clock=lambda: now, runbook=runbook)
    list(ingestion.ingest_arrivals(run))
    return files_in_time(Scope(run, (OCTOBER,)), str(OCTOBER))


@pytest.mark.parametrize(("minutes", "timely"), [(119, 1), (120, 0)])
def test_a_file_is_in_time_by_the_clock_of_the_run(services, minutes, timely) -> None:
    assert delivered_late(services, minutes) == (timely, 1)


def test_a_file_is_in_time_by_whatever_limit_the_runbook_gives(services) -> None:
    latency = RUNBOOK.thresholds["processing_latency"]
    hour = latency.bands[0].model_copy(update={"limit": 60})
    thresholds = {"processing_latency": latency.model_copy(update={"bands": [hour]})}
    assert delivered_late(services, 119, RUNBOOK.model_copy(update={"thresholds": thresholds})) == (
        0,
        1,
    )


def test_a_load_that_did_not_last_is_none(services, request) -> None:
    found = load_of_server(State(services, request), (5, 0.1), (4, 0.99), (5, 0.1))
    assert (found.outcome, found.value < 20) == ("pass", True)


def test_a_server_that_was_not_watched_long_enough_is_not_measurable(services, request) -> None:
    found = load_of_server(State(services, request), (4, 0.99))
    assert "watched for 4 of the last 15 minutes, 5 are needed" in found.sentence


def test_every_band_of_the_runbook_is_broken_here() -> None:
    assert set(BREAKING) == set(BANDS)


@pytest.mark.parametrize(("name", "severity"), BANDS)
def test_a_broken_limit_fails_with_its_severity(name, severity, services, request) -> None:
    verdict = BREAKING[name, severity](State(services, request))
    assert (verdict.outcome, verdict.severity) == ("fail", severity)


@pytest.mark.parametrize("name", RUNBOOK.thresholds)
def test_without_data_the_outcome_is_not_measurable(name, empty, request) -> None:
    state = State(empty, request)
    verdict = audited(state, name, []) if name in UNPUBLISHED else state.verdict(name)
    assert verdict.outcome == ALWAYS_MEASURABLE.get(name, "not_measurable")


@pytest.mark.parametrize("name", [one for one in RUNBOOK.thresholds if one not in UNPUBLISHED])
def test_what_is_not_measurable_says_why(name, empty, request) -> None:
    verdict = State(empty, request).verdict(name)
    is_explained = "not measurable: " in verdict.sentence
    assert is_explained == (verdict.outcome == "not_measurable")


def test_without_a_log_that_is_kept_no_backup_is_young_enough(own_server, request) -> None:
    """X-12: only the log brings back the last hour."""
    verdict = State(own_server, request).verdict("recoverable_point")
    assert (verdict.outcome, verdict.severity) == ("fail", "critical")
