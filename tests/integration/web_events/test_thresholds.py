"""Every threshold of web_events meets data or a state that breaks it, and says so (B-14).

Nothing is stubbed: files are delivered, published and lost again. The tests go over the runbook
itself, so that a threshold nobody breaks here turns them red.
"""

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from pipeline_platform.operations.cost_readings import cost_measures
from pipeline_platform.orchestration.pipeline_runs import PipelineRuns
from pipeline_platform.quality.audit import judged
from pipeline_platform.quality.measurements import Measurement, Verdict, judge
from pipeline_platform.quality.measures import measure, query_times
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import MUTATION_SCORE
from pipeline_platform.services import Services
from pipeline_platform.web_events.automation import WORKFLOW
from pipeline_platform.web_events.measures import MEASURES, Scope
from pipeline_platform.web_events.refinement import stage_days
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS
from tests.assets.broken_promises import keep_incident, keep_probes, keep_steps
from tests.assets.platform_runs import settings_at
from tests.integration.quality.mutated_tables import mutation_verdict
from tests.integration.web_events.event_files import (
    ARRIVED,
    DAY,
    NOON,
    deliver,
    event,
    events,
    ingest,
    refine_requested,
    run_of,
)

RUNBOOK = load_runbook()
ELSEWHERE = {
    *("cost_increase", "stream_silence", "stream_iterator_age", "stream_retention_used"),
    "stream_error_rate",
}
"""Broken in test_cost.py and test_stream_health.py, where their sources are at hand."""

THRESHOLDS = {name: one for name, one in RUNBOOK.thresholds.items() if name not in ELSEWHERE}
BANDS = [(name, band.severity) for name, one in THRESHOLDS.items() for band in one.bands]
UNPUBLISHED = {one.name for one in RUNBOOK.blocking_thresholds}
ONE_DAY = timedelta(days=1)
MONTH = datetime(2031, 3, 1, tzinfo=UTC)
BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def empty(new_database, tmp_path_factory):
    with Services(settings_at(tmp_path_factory.mktemp("empty"), new_database())) as opened:
        yield opened


def verdict(
    services: Services,
    name: str,
    *,
    days: tuple[date, ...] = (DAY,),
    after: timedelta = timedelta(0),
    runs: PipelineRuns | None = None,
) -> Verdict:
    scope = Scope(run_of(services, "check", ARRIVED + after), days, runs)
    if name == MUTATION_SCORE:
        return mutation_verdict(scope.run)
    return measure(scope, RUNBOOK.thresholds[name], MEASURES)[1]


def published(services: Services, content: bytes, name: str = "events_1.ndjson") -> None:
    deliver(services, name, content)
    run = run_of(services, name)
    ingest(run)
    refine_requested(run)


def history(services: Services, days: int = 4, **of_the_day: object) -> None:
    """Publish equal days, 120 events each, before the day that has what is given instead."""
    quiet = b"".join(
        events(120, NOON - back * ONE_DAY, prefix=f"{back}-") for back in range(1, days + 1)
    )
    published(services, quiet + events(120, **of_the_day))


def failed_run(services: Services) -> Verdict:
    """Let the workflow fail, and another job succeed after it."""
    with dg.DagsterInstance.ephemeral() as instance:
        for job, status in (
            (WORKFLOW, dg.DagsterRunStatus.FAILURE),
            (f"{PIPELINE}_end_of_day", dg.DagsterRunStatus.SUCCESS),
        ):
            instance.add_run(dg.DagsterRun(job_name=job, run_id=make_new_run_id(), status=status))
        runs = PipelineRuns(instance, PIPELINE, datetime.now(UTC) - ONE_DAY)
        return verdict(services, "failed_runs", runs=runs)


def many_unreadable(services: Services) -> Verdict:
    published(services, events(100) + b"nonsense\n" * 6)
    return verdict(services, "error_rate")


def truncated(services: Services, *, good: int) -> Verdict:
    """Let good files arrive, and one whose compression was cut off."""
    for number in range(good):
        deliver(services, f"events_{number}.ndjson", event(f"e{number}"))
    deliver(services, "events_cut.ndjson.gz", gzip.compress(events(100))[:-20])
    ingest(run_of(services))
    return verdict(services, "refused_files")


def scoring(services: Services, name: str, **faults: object) -> Verdict:
    published(services, events(100, **faults))
    return verdict(services, name)


def falling_quality(services: Services) -> Verdict:
    content = b""
    for back, share in enumerate((30, 20, 10, 0)):
        day = NOON - back * ONE_DAY
        content += events(100 - share, day, prefix=f"g{back}-")
        content += events(share, day, prefix=f"b{back}-", url=None, event_type=None)
    published(services, content)
    return verdict(services, "quality_trend")


def falling_at_last(services: Services, **faults: object) -> Verdict:
    history(services, **faults)
    return verdict(services, "quality_drop")


def bots_surge(services: Services) -> Verdict:
    history(services, user_agent=BOT)
    return verdict(services, "bot_share_spike")


def new_type(services: Services) -> Verdict:
    history(services, event_type="teleport")
    return verdict(services, "unseen_kinds")


def drifted(services: Services, **of_the_day: object) -> Measurement:
    history(services, **of_the_day)
    scope = Scope(run_of(services), (DAY,))
    return measure(scope, RUNBOOK.thresholds["schema_drift"], MEASURES)[0]


def retyped_key(services: Services) -> Verdict:
    history(services, url={"path": "/p"})
    return verdict(services, "schema_drift")


def silent_hour(services: Services) -> Verdict:
    history(services, at=NOON + timedelta(hours=5))
    return verdict(services, "hourly_volume")


def lost_rows(services: Services) -> Verdict:
    """Let bronze lose a file's rows after they were recorded as published."""
    deliver(services, "events_1.ndjson", event("e"))
    run, lake = run_of(services), services.lake
    (outcome,) = ingest(run).values()
    nothing = lake.stage(RAW_EVENTS, RAW_EVENTS.schema.empty_table(), run_id="x", partition="x")
    lake.publish(nothing, replace=f"file_sha256 == '{outcome.sha256}'", properties={})
    staged = stage_days(run, [DAY])
    return next(found for one, _, found in staged.verdicts if one.name == "conservation")


def waiting(minutes: int) -> Callable[[Services], Verdict]:
    def measured(services: Services) -> Verdict:
        deliver(services, "events_1.ndjson", event("e"))
        ingest(run_of(services))
        return verdict(services, "processing_latency", after=timedelta(minutes=minutes))

    return measured


def gap_in_the_days(services: Services) -> Verdict:
    published(services, event("a", NOON - 3 * ONE_DAY) + event("b"))
    return verdict(services, "last_closed_date")


def nothing_today(services: Services) -> Verdict:
    published(services, event("e"))
    return verdict(services, "rows_of_today")


def slow(name: str, seconds: float) -> Callable[[Services], Verdict]:
    """The time of a query is the clock's word; it alone is moved, for a test can't wait."""

    def measured(services: Services) -> Verdict:
        import time

        clock = iter((0.0, seconds))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "perf_counter", lambda: next(clock))
            found = query_times(name, {"one": lambda: None})
        return judge(found["one"], RUNBOOK.thresholds[name])

    return measured


def nobody_looks(services: Services) -> Verdict:
    """Evaluate one check, and none of them for the next two days."""
    with services.database.transaction() as connection:
        record_verdict(connection, PIPELINE, verdict(services, "rows_of_today"), now=ARRIVED)
    return verdict(services, "monitoring_gap", after=2 * ONE_DAY)


def never_saved(services: Services) -> Verdict:
    """Look a day and more after the platform was made, without any backup."""
    published(services, event("e"))
    return verdict(services, "unsaved_tables", after=utc_now() - ARRIVED + timedelta(hours=27))


def contract_of_one_rule(services: Services) -> Verdict:
    published(services, events(3))
    return mutation_verdict(run_of(services), rules=1)


def lost_file(services: Services) -> Verdict:
    """Take a file of the lake away."""
    published(services, event("e"))
    next(Path(services.settings.processed_location).glob("**/*.parquet")).unlink()
    return verdict(services, "damaged_files")


def deleted_by_hand(services: Services) -> Verdict:
    published(services, event("e"))
    services.lake.iceberg(RAW_EVENTS).delete()
    return verdict(services, "foreign_commits")


def unhealthy_hour(services: Services) -> Verdict:
    """Fail an hour of two days' probes, and look on the third of the month."""
    keep_probes(services, MONTH, failing_minutes=60)
    return verdict(services, "availability", after=MONTH + 2 * ONE_DAY - ARRIVED)


def slowly_mended(services: Services) -> Verdict:
    """Mend the month's only incident after half an hour."""
    keep_probes(services, MONTH, failing_minutes=0)
    keep_incident(services, PIPELINE, MONTH, minutes=30)
    return verdict(services, "mean_time_to_recovery", after=MONTH + 2 * ONE_DAY - ARRIVED)


def slow_steps(seconds: float) -> Callable[[Services], Verdict]:
    def measured(services: Services) -> Verdict:
        keep_steps(services, PIPELINE, ARRIVED, seconds)
        return verdict(services, "task_latency")

    return measured


BREAKING: dict[tuple[str, str], Callable[[Services], Verdict]] = {
    ("availability", "warning"): unhealthy_hour,
    ("mean_time_to_recovery", "warning"): slowly_mended,
    ("task_latency", "info"): slow_steps(300),
    ("task_latency", "warning"): slow_steps(601),
    ("failed_runs", "critical"): failed_run,
    ("error_rate", "critical"): many_unreadable,
    ("refused_files", "critical"): partial(truncated, good=18),
    ("data_quality_score", "warning"): lambda services: scoring(
        services, "data_quality_score", url=None, user_agent=None
    ),
    ("data_quality_score", "critical"): lambda services: scoring(
        services, "data_quality_score", url=None, user_agent=None, event_type=None
    ),
    ("quality_trend", "warning"): falling_quality,
    ("quality_drop", "warning"): lambda services: falling_at_last(services, url=None),
    ("quality_drop", "critical"): lambda services: falling_at_last(
        services, url=None, event_type=None, user_agent=None
    ),
    ("bot_share_spike", "warning"): bots_surge,
    ("unseen_kinds", "warning"): new_type,
    ("schema_drift", "warning"): retyped_key,
    ("hourly_volume", "warning"): silent_hour,
    ("conservation", "critical"): lost_rows,
    ("processing_latency", "warning"): waiting(61),
    ("processing_latency", "critical"): waiting(241),
    ("last_closed_date", "warning"): gap_in_the_days,
    ("rows_of_today", "warning"): nothing_today,
    ("query_time", "warning"): slow("query_time", 10.1),
    ("slow_queries", "warning"): slow("slow_queries", 30.1),
    ("monitoring_gap", "warning"): nobody_looks,
    ("unsaved_tables", "critical"): never_saved,
    ("mutation_score", "warning"): contract_of_one_rule,
    ("damaged_files", "critical"): lost_file,
    ("foreign_commits", "critical"): deleted_by_hand,
}
"""By threshold and severity: data or a state that breaks it, and the verdict on it."""


def test_every_band_of_the_runbook_is_broken_here() -> None:
    assert set(BREAKING) == set(BANDS)


@pytest.mark.parametrize(("name", "severity"), BANDS)
def test_a_broken_limit_fails_with_its_severity(name, severity, services) -> None:
    found = BREAKING[name, severity](services)
    assert (found.outcome, found.severity) == ("fail", severity)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_without_data_the_outcome_is_not_measurable(name, empty) -> None:
    if name in UNPUBLISHED:
        found = next(one for _, _, one in judged([], RUNBOOK.blocking_thresholds))
    else:
        found = verdict(empty, name)
    assert found.outcome == "not_measurable"
    assert "not measurable: " in found.sentence


def test_a_refused_file_among_twenty_is_no_more_than_may_be(services) -> None:
    assert truncated(services, good=19).outcome == "pass"


def test_a_file_of_no_known_source_is_refused_and_named(services) -> None:
    deliver(services, "holiday.bin", b"x")
    ingest(run_of(services))
    scope = Scope(run_of(services), ())
    measured, _ = measure(scope, RUNBOOK.thresholds["refused_files"], MEASURES)
    assert measured.offenders == ("holiday.bin: unknown_vendor",)


def test_events_of_an_unseen_kind_are_counted(services) -> None:
    history(services)
    published(services, events(7, prefix="x", event_type="teleport"), "events_2.ndjson")
    scope = Scope(run_of(services), (DAY,))
    found, _ = measure(scope, RUNBOOK.thresholds["unseen_kinds"], MEASURES)
    assert (found.value, found.numerator, found.denominator) == (1, 7, 127)
    assert found.offenders == ("event type teleport: 7 events",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"plan": "gold"}, "key plan is new"),
        ({"user_agent": None}, "key user_agent vanished"),
        ({"user_agent": 7}, "key user_agent is number, was text"),
    ],
)
def test_a_key_that_is_new_vanished_or_retyped_is_named(services, change, told) -> None:
    (offender,) = drifted(services, **change).offenders
    assert offender.endswith(told)


def test_quiet_days_break_nothing(services) -> None:
    history(services)
    names = (
        *("error_rate", "data_quality_score", "bot_share_spike", "unseen_kinds"),
        *("schema_drift", "hourly_volume"),
    )
    assert {verdict(services, name).outcome for name in names} == {"pass"}


def test_usual_queries_are_timed(services) -> None:
    published(services, events(3))
    assert verdict(services, "query_time").outcome == "pass"


@pytest.mark.parametrize("name", [one for one in RUNBOOK.thresholds if one not in UNPUBLISHED])
def test_every_threshold_has_its_measure(name) -> None:
    assert name in {*MEASURES, *cost_measures(RUNBOOK), MUTATION_SCORE}
