"""What Dagster remembers becomes findings: of whom, how bad, for which days, since when."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from pipeline_platform.operations import event_log
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.faults import Fault, Finding, Key, after
from pipeline_platform.operations.incidents import judge
from pipeline_platform.operations.plan import alertings
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.failures import STOPPED_TAG
from pipeline_platform.run_context import utc_now

BRONZE = dg.AssetKey(["web_events", "bronze", "raw_events"])
SILVER = dg.AssetKey(["web_events", "silver", "web_events"])
GOLD = dg.AssetKey(["web_events", "gold", "sessions"])
COST = dg.AssetKey(["operations", "cost", "daily_cost"])
DAYS = dg.DailyPartitionsDefinition("2026-11-01")
LATER = timedelta(minutes=10)


@dataclass
class World:
    """What the made-up assets and checks do in the next run."""

    fails: set[str] = field(default_factory=set)
    unmeasured: set[str] = field(default_factory=set)

    def asset(self, key: dg.AssetKey, **options: Any) -> dg.AssetsDefinition:
        @dg.asset(key=key, **options)
        def made() -> None:
            if key.path[-1] in self.fails:
                raise dg.Failure("No route to postgresql://ada:hidden@db:5432 in the morning.")

        return made

    def check(self, key: dg.AssetKey, name: str, **told: Any) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=key, name=name)
        def judged() -> dg.AssetCheckResult:
            outcome = (
                "not measurable" if name in self.unmeasured
                else "fail" if name in self.fails else "pass"
            )  # fmt: skip
            return dg.AssetCheckResult(
                passed=outcome == "pass",
                description=f"{name} ends as {outcome}.",
                metadata={"outcome": outcome, **told},
            )

        return judged

    def definitions(self) -> dg.Definitions:
        fresh = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=4))
        assets = [
            self.asset(BRONZE),
            self.asset(SILVER, deps=[BRONZE], partitions_def=DAYS, freshness_policy=fresh),
            self.asset(GOLD, deps=[SILVER], partitions_def=DAYS),
            self.asset(COST),
        ]
        checks = [
            self.check(SILVER, "data_quality_score", route="error_rate"),
            self.check(SILVER, "event_id_is_there"),
            self.check(SILVER, "failed_runs", route="pipeline_failures"),
            self.check(SILVER, "processing_latency", route="performance"),
            self.check(COST, "web_events_cost_increase", route="cost"),
            self.check(COST, "advisory_performance_cost_anomaly", route="cost_anomalies"),
        ]
        jobs = [
            dg.define_asset_job("web_events_workflow", [SILVER, GOLD]),
            dg.define_asset_job("web_events_ingest", [BRONZE]),
            dg.define_asset_job("operations_daily_cost", [COST]),
        ]
        return dg.Definitions(assets, jobs=jobs, asset_checks=checks)


@dataclass
class Platform:
    instance: dg.DagsterInstance
    world: World

    def __post_init__(self) -> None:
        self.definitions = self.world.definitions()
        self.graph = self.definitions.resolve_asset_graph()
        self.positions: Mapping[str, int] = {}
        self.faults: dict[Key, Fault] = {}

    def run(self, job: str, *days: date, fails: set[str] = frozenset()) -> str:
        self.world.fails = set(fails)
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            tags=range_tags(days[0], days[-1]) if days else {},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        return result.run_id

    def read(self, now: datetime | None = None) -> tuple[Finding, ...]:
        """Read what is new and keep where it ended, as a round does."""
        log = EventLog(self.instance, self.graph, alertings())
        reading = log.read(self.positions, now or utc_now())
        self.positions = reading.reached
        self.faults = after(self.faults, reading.findings)
        return reading.findings

    def red(self) -> dict[str, Fault]:
        self.read()
        return {one.name: one for one in self.faults.values() if one.state == "RED"}


@pytest.fixture
def platform() -> Iterator[Platform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(instance, World())


def of_events(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out what is looked at anew each time."""
    return [one for one in findings if one.event_id is not None]


FIRST, SECOND, THIRD = (date(2026, 11, day) for day in (2, 3, 4))
SCORE = "check:web_events/silver/web_events:data_quality_score"


def test_a_failed_check_has_the_severity_route_and_time_of_its_band(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"data_quality_score"})
    fault = platform.red()[SCORE]
    assert (fault.severity, fault.route, fault.response_minutes) == ("critical", "error_rate", 30)
    assert fault.sentence == "data_quality_score ends as fail."
    assert fault.touches == ("web_events/gold/sessions",)


def test_a_failed_run_is_answered_at_once_where_one_row_says_so(platform: Platform) -> None:
    """X-4: SW-59 says immediate, SW-11 15 minutes; the stricter holds."""
    platform.run("web_events_workflow", FIRST, fails={"web_events"})
    fault = platform.red()["run:web_events_workflow"]
    assert (fault.route, fault.response_minutes) == ("pipeline_failures", 0)


def test_a_failed_expectation_of_a_contract_has_the_route_of_contracts(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"event_id_is_there"})
    fault = platform.red()["check:web_events/silver/web_events:event_id_is_there"]
    assert (fault.severity, fault.route) == ("critical", "data_corruption")


def test_a_rule_on_cost_belongs_to_the_pipeline_whose_runbook_has_it(platform: Platform) -> None:
    platform.run("operations_daily_cost", fails={"web_events_cost_increase"})
    (fault,) = platform.red().values()
    assert (fault.pipeline, fault.route, fault.response_minutes) == ("web_events", "cost", 1440)


def test_rules_of_two_pipelines_on_the_one_asset_of_cost_are_told_apart(platform: Platform) -> None:
    checks = {"web_events_cost_increase", "advisory_performance_cost_anomaly"}
    platform.run("operations_daily_cost", fails=checks)
    told = {(one.pipeline, one.route) for one in platform.red().values()}
    assert told == {("web_events", "cost"), ("advisory_performance", "cost_anomalies")}


def test_a_check_for_the_record_is_not_told(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"failed_runs"})
    assert platform.red() == {}


def test_what_is_not_measurable_neither_breaks_nor_mends(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"data_quality_score"})
    assert SCORE in platform.red()
    platform.world.unmeasured = {"data_quality_score"}
    platform.run("web_events_workflow", FIRST)
    assert SCORE in platform.red()


def test_a_failed_run_says_which_step_failed_why_and_what_it_touches(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"web_events"})
    fault = platform.red()["run:web_events_workflow"]
    assert (fault.route, fault.severity) == ("pipeline_failures", "critical")
    assert "failed in web_events__silver__web_events: No route to" in fault.sentence
    assert set(fault.touches) == {"web_events/silver/web_events", "web_events/gold/sessions"}


def test_a_run_that_somebody_stopped_is_no_fault_and_mends_none(platform: Platform) -> None:
    stopped = platform.run("web_events_workflow", FIRST, fails={"web_events"})
    platform.instance.add_run_tags(stopped, {STOPPED_TAG: "true"})
    assert platform.red() == {}
    platform.run("web_events_ingest", fails={"raw_events"})
    again = platform.run("web_events_ingest", fails={"raw_events"})
    platform.instance.add_run_tags(again, {STOPPED_TAG: "true"})
    assert list(platform.red()) == ["run:web_events_ingest"]


def test_a_password_in_an_error_is_not_told(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"web_events"})
    assert "hidden" not in platform.red()["run:web_events_workflow"].sentence


def test_a_run_that_succeeds_for_the_same_days_mends_it(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"web_events"})
    platform.run("web_events_workflow", SECOND)
    assert "run:web_events_workflow" in platform.red()
    platform.run("web_events_workflow", FIRST)
    assert platform.red() == {}


def test_of_a_range_that_failed_those_days_stay_red_that_did_not_succeed(
    platform: Platform,
) -> None:
    platform.run("web_events_workflow", FIRST, THIRD, fails={"web_events"})
    platform.run("web_events_workflow", SECOND, THIRD)
    assert platform.red()["run:web_events_workflow"].days == ((FIRST, SECOND),)


def test_a_check_that_passes_for_other_days_does_not_mend(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"data_quality_score"})
    platform.run("web_events_workflow", SECOND)
    assert platform.red()[SCORE].days == ((FIRST, SECOND),)


def test_a_job_without_partitions_is_mended_by_its_next_success(platform: Platform) -> None:
    platform.run("web_events_ingest", fails={"raw_events"})
    assert "run:web_events_ingest" in platform.red()
    platform.run("web_events_ingest")
    assert platform.red() == {}


def test_a_run_of_the_platform_itself_has_an_owner(platform: Platform) -> None:
    platform.run("operations_daily_cost", fails={"daily_cost"})
    fault = platform.red()["run:operations_daily_cost"]
    assert (fault.pipeline, fault.route) == ("operations", "platform_failures")


def test_a_failed_run_and_what_fails_because_of_it_are_one_incident(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"processing_latency"})
    platform.run("web_events_workflow", FIRST, fails={"web_events"})
    platform.read()
    judged = judge([], list(platform.faults.values()), alertings(), utc_now())
    assert [(one.cause, one.route) for one in judged.incidents] == [
        ("run:web_events_workflow", "pipeline_failures")
    ]


@pytest.mark.parametrize(
    ("state", "severity", "route"),
    [("FAIL", "critical", "data_lag"), ("WARN", "warning", "performance")],
)
def test_a_late_asset_is_found_without_any_event_and_mended_so(
    platform: Platform, state: str, severity: str, route: str
) -> None:
    told_fresh(platform, FreshnessState[state])
    fault = platform.red()["overdue:web_events/silver/web_events"]
    assert (fault.severity, fault.route) == (severity, route)
    told_fresh(platform, FreshnessState.PASS)
    assert platform.red() == {}


def told_fresh(platform: Platform, state: FreshnessState) -> None:
    """Note a freshness as Dagster's daemon does."""
    platform.instance._report_runless_asset_event(
        FreshnessStateChange(
            key=SILVER,
            previous_state=FreshnessState.UNKNOWN,
            new_state=state,
            state_change_timestamp=datetime.now(UTC).timestamp(),
        )
    )


def test_settled_events_are_not_read_again(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"data_quality_score"})
    platform.read(utc_now() + LATER)
    assert of_events(platform.read(utc_now() + LATER)) == []


def test_young_events_are_read_again_and_change_nothing(platform: Platform) -> None:
    platform.run("web_events_workflow", FIRST, fails={"data_quality_score"})
    first = platform.read()
    before = dict(platform.faults)
    again = of_events(platform.read())
    assert (again, platform.faults) == (of_events(first), before)


def test_a_long_log_is_read_in_bounded_parts_to_its_end(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (FIRST, SECOND, THIRD):
        platform.run("web_events_workflow", day, fails={"data_quality_score"})
    whole = EventLog(platform.instance, platform.graph, alertings()).read({}, utc_now()).findings
    monkeypatch.setattr(event_log, "EVENTS_AT_ONCE", 2)
    found: set[int | None] = set()
    for _ in range(12):
        found |= {one.event_id for one in platform.read()}
    assert found == {one.event_id for one in whole}
