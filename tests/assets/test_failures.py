"""How runs fail: what can't get better is tried once, what may pass by is tried again (B-14)."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import duckdb
import pytest

from pipeline_platform import failures
from pipeline_platform.advisory_performance.audit import SILVER_TABLES
from pipeline_platform.advisory_performance.automation import months_to_process
from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import VALUATIONS, VENDOR_ROWS
from pipeline_platform.orchestration import failures as handling
from pipeline_platform.orchestration.failures import FAILURE_TAG, MAX_RETRIES, handled_failures
from pipeline_platform.orchestration.run_failures import read_kind
from tests.assets.platform_runs import OCTOBER, Platform, deliver, running, settings_at

HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)
PERMANENT = [failures.PermanentError, *failures.PermanentError.__subclasses__()]
TRANSIENT = [failures.TransientError, *failures.TransientError.__subclasses__()]


@pytest.mark.parametrize("error", PERMANENT, ids=lambda one: one.__name__)
def test_a_permanent_failure_forbids_every_retry(error) -> None:
    with pytest.raises(dg.Failure) as raised, handled_failures(dg.build_asset_context()):
        raise error("It is wrong.")
    assert not raised.value.allow_retries


def test_a_permanent_failure_keeps_its_sentence_and_class() -> None:
    with pytest.raises(dg.Failure) as raised, handled_failures(dg.build_asset_context()):
        raise failures.NotFoundError("It is not there.")
    said = (raised.value.description, raised.value.metadata["failure_class"].value)
    assert said == ("It is not there.", "NotFoundError")


def attempts_of(errors: list[Exception | None], monkeypatch) -> tuple[int, bool]:
    """Run an asset that fails with these errors in turn; return how often it ran, and success."""
    monkeypatch.setattr(handling, "FIRST_WAIT_SECONDS", 0)
    attempts = []

    @dg.asset
    def flaky(context: dg.AssetExecutionContext) -> None:
        attempts.append(context.retry_number)
        with handled_failures(context):
            error = errors[min(len(attempts), len(errors)) - 1]
            if error is not None:
                raise error

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([flaky], instance=instance, raise_on_error=False)
    return len(attempts), result.success


def test_a_run_survives_failures_that_pass(monkeypatch) -> None:
    conflict = failures.ConflictError("Another writer won.")
    assert attempts_of([conflict, conflict, None], monkeypatch) == (3, True)


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda one: one.__name__)
def test_a_transient_failure_is_retried_a_few_times(error, monkeypatch) -> None:
    assert attempts_of([error("It may pass.")], monkeypatch) == (1 + MAX_RETRIES, False)


def test_a_run_tries_a_permanent_failure_once(monkeypatch) -> None:
    assert attempts_of([failures.BadInputError("Wrong."), None], monkeypatch) == (1, False)


KINDS = {
    "transient": failures.ConflictError("Another writer won."),
    "data": failures.BadInputError("Wrong."),
    "permanent": failures.InvalidSettingError("Not set."),
    "authentication": failures.RefusedError("403"),
    "stopped": failures.StoppedError("By somebody."),
    "memory": duckdb.OutOfMemoryException("too little"),
    "defect": KeyError("nobody thought of it"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_a_failure_is_kept_on_the_run(kind, monkeypatch) -> None:
    monkeypatch.setattr(handling, "FIRST_WAIT_SECONDS", 0)

    @dg.asset
    def failing(context: dg.AssetExecutionContext) -> None:
        with handled_failures(context):
            raise KINDS[kind]

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([failing], instance=instance, raise_on_error=False)
        assert read_kind(instance, instance.get_run_by_id(result.run_id)) == kind
        assert instance.get_run_by_id(result.run_id).tags[FAILURE_TAG] == kind


def test_a_failure_that_passed_leaves_no_kind(monkeypatch) -> None:
    monkeypatch.setattr(handling, "FIRST_WAIT_SECONDS", 0)

    @dg.asset
    def flaky(context: dg.AssetExecutionContext) -> None:
        with handled_failures(context):
            if context.retry_number == 0:
                raise KINDS["transient"]

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([flaky], instance=instance)
        assert FAILURE_TAG not in instance.get_run_by_id(result.run_id).tags


def outside_of_the_handling(error: Exception) -> str | None:
    """Return the kind of a failure that only Dagster noted."""

    @dg.asset
    def failing() -> None:
        raise error

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([failing], instance=instance, raise_on_error=False)
        return read_kind(instance, instance.get_run_by_id(result.run_id))


def test_an_error_that_nobody_handled_is_a_defect() -> None:
    assert outside_of_the_handling(KeyError("x")) == "defect"


def test_an_error_of_the_platform_is_of_its_kind_wherever_it_was_raised() -> None:
    assert outside_of_the_handling(failures.UnavailableError("Away.")) == "transient"


def test_a_run_whose_process_died_is_lost() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(
            dg.GraphDefinition(name="empty").to_job(), status=dg.DagsterRunStatus.STARTED
        )
        instance.report_run_failed(run, "Run worker process 17 was killed")
        assert read_kind(instance, instance.get_run_by_id(run.run_id)) == "lost"


def test_a_run_that_somebody_ended_is_cancelled() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(dg.GraphDefinition(name="empty").to_job())
        instance.report_run_canceled(run)
        assert read_kind(instance, instance.get_run_by_id(run.run_id)) == "cancelled"


@dataclass
class Blocked:
    """A platform whose month has more bad records than good ones."""

    platform: Platform
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def blocked(new_database, tmp_path_factory) -> Iterator[Blocked]:
    settings = settings_at(tmp_path_factory.mktemp("blocked"), new_database())
    good = "".join(f"A{number},2024-10-31,1000.00,,,,,USD\n" for number in range(60))
    bad = "".join(f"B{number},2024-10-31,1000.00,,,,,QQQ\n" for number in range(61))
    deliver(settings, "standard_1.csv", (HEADER + good + bad).encode())
    with running(settings) as platform:
        list(ingest_arrivals(RunContext(platform.services, "ingest")))
        yield Blocked(platform, platform.process(OCTOBER, OCTOBER))


def silver_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["advisory_performance", "silver", name])


def test_a_blocked_audit_fails_the_run(blocked: Blocked) -> None:
    assert not blocked.result.success


def test_a_blocked_audit_publishes_nothing(blocked: Blocked) -> None:
    lake = blocked.platform.services.lake
    assert [lake.last_publication(table) for table in SILVER_TABLES] == [None, None, None]


def test_a_blocked_audit_materializes_no_asset(blocked: Blocked) -> None:
    assert blocked.result.get_asset_materialization_events() == []


def test_a_blocked_audit_is_tried_once(blocked: Blocked) -> None:
    kinds = [event.event_type for event in blocked.result.all_events]
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds


def test_a_blocked_audit_records_the_failing_check(blocked: Blocked) -> None:
    failed = {
        (one.asset_key, one.check_name, one.severity)
        for one in blocked.result.get_asset_check_evaluations()
        if not one.passed and one.severity == dg.AssetCheckSeverity.ERROR
    }
    assert failed == {(silver_key("valuations"), "data_validity", dg.AssetCheckSeverity.ERROR)}


def test_a_blocked_audit_names_rule_and_value_in_the_failure(blocked: Blocked) -> None:
    (failure,) = [e for e in blocked.result.all_events if e.is_step_failure]
    assert "Data validity is 49.5868 percent, but must be at least 50" in str(
        failure.step_failure_data.user_failure_data.description
    )


def test_a_blocked_audit_writes_a_critical_issue_with_the_staged_files(blocked: Blocked) -> None:
    with blocked.platform.services.database.connection() as connection:
        found = connection.execute(
            "SELECT severity, description FROM data_quality_issues"
            " WHERE issue_type = 'not_published'"
        ).fetchall()
    assert [(severity, ".parquet" in said) for severity, said in found] == [("critical", True)]


def test_a_blocked_audit_leaves_bronze_as_it_was(blocked: Blocked) -> None:
    assert sum(blocked.platform.services.lake.partitions(VENDOR_ROWS).values()) == 121


def test_a_blocked_audit_leaves_the_month_pending(blocked: Blocked) -> None:
    pending, *_ = months_to_process(blocked.platform.services)
    assert list(pending) == [str(OCTOBER)]


def test_a_blocked_audit_serves_nothing(blocked: Blocked) -> None:
    with blocked.platform.services.database.connection() as connection:
        served = connection.execute("SELECT count(*) FROM performance_data").fetchone()
    assert served == (0,)


def test_once_the_records_are_mended_the_month_is_published(blocked: Blocked) -> None:
    rows = "".join(f"C{number},2024-10-31,1000.00,,,,,USD\n" for number in range(100))
    deliver(blocked.platform.settings, "standard_2.csv", (HEADER + rows).encode())
    list(ingest_arrivals(RunContext(blocked.platform.services, "mended")))
    blocked.platform.process(
        OCTOBER, OCTOBER, asset_selection=[silver_key(table.name) for table in SILVER_TABLES]
    )
    assert blocked.platform.services.lake.partitions(VALUATIONS) == {OCTOBER: 160}
