"""Mean times, availability and error budget, by hand and by property (XC-4, SA-81, SA-88)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.operations.incident_figures import (
    MonthFigures,
    ProbedPeriod,
    common,
    minutes,
    month_figures,
)
from pipeline_platform.operations.incident_figures import union as joined
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.runbook import ServiceLevel
from tests.unit.operations.broken_things import PIPELINE, REMEDY

NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
LEVEL = ServiceLevel(availability_pct=99.9, recovery_minutes=30)
WATCHED = [(NOVEMBER, DECEMBER)]
MONTH_MINUTES = 30 * 24 * 60


def incident(
    began: float, lasted: float | None, *, noticed: float = 2, severity: str = "critical"
) -> Incident:
    """Return an incident that began so many minutes after the month did."""
    began_at = NOVEMBER + timedelta(minutes=began)
    opened_at = began_at + timedelta(minutes=noticed)
    resolved_at = None if lasted is None else began_at + timedelta(minutes=lasted)
    return Incident(
        PIPELINE, "run:a", "A run failed.", severity, "pipeline_failures", 15, REMEDY, began_at,
        began_at, opened_at, opened_at, state="OPEN" if lasted is None else "RESOLVED",
        resolved_at=resolved_at,
    )  # fmt: skip


def november(*incidents: Incident, watched=WATCHED, now=DECEMBER, probed=()) -> MonthFigures:
    (row,) = month_figures(incidents, watched, {PIPELINE: LEVEL}, [NOVEMBER], now, probed)
    return row


def probed(began: float, lasted: float, *, is_healthy: bool) -> ProbedPeriod:
    """Return a probed time that began so many minutes after the month did."""
    start = NOVEMBER + timedelta(minutes=began)
    return ProbedPeriod(start, start + timedelta(minutes=lasted), 2, is_healthy)


def test_a_failing_probe_is_time_in_which_nothing_was_available() -> None:
    row = november(probed=[probed(0, 900, is_healthy=True), probed(900, 100, is_healthy=False)])
    assert (row.probed_minutes, row.unhealthy_minutes, row.down_minutes) == (1000, 100, 100)


def test_a_failing_probe_during_an_incident_counts_once() -> None:
    row = november(incident(0, 60), probed=[probed(30, 60, is_healthy=False)])
    assert row.down_minutes == 90


def test_what_was_probed_was_watched() -> None:
    row = november(watched=[], probed=[probed(0, 300, is_healthy=True)])
    assert (row.watched_minutes, row.availability_pct) == (300, 100)


def test_without_probes_availability_is_that_of_incidents_and_none_are_counted() -> None:
    row = november(incident(0, 43))
    assert (row.probed_minutes, row.down_minutes) == (0, 43)


def test_mean_times_to_detect_and_to_recover() -> None:
    row = november(incident(0, 20, noticed=2), incident(100, 40, noticed=4))
    assert (row.detect_minutes, row.recover_minutes, row.keeps_recovery) == (3, 30, False)


def test_an_incident_that_is_still_open_counts_as_such_and_not_in_the_time_to_recover() -> None:
    row = november(incident(0, 20), incident(100, None))
    assert (row.incidents, row.unresolved, row.recover_minutes) == (2, 1, 20)


def test_availability_is_the_watched_time_without_critical_incidents() -> None:
    row = november(incident(0, 43), incident(500, 60, severity="warning"))
    assert row.down_minutes == 43
    assert row.availability_pct == 100 * (1 - 43 / MONTH_MINUTES)
    assert row.keeps_availability is True


def test_more_than_the_error_budget_breaks_the_promise() -> None:
    row = november(incident(0, 44))
    assert round(row.budget_minutes, 3) == 43.2
    assert round(row.budget_left_minutes, 3) == -0.8
    assert row.keeps_availability is False


def test_two_incidents_at_once_are_down_once() -> None:
    assert november(incident(0, 30), incident(10, 30)).down_minutes == 40


def test_an_incident_over_the_end_of_a_month_is_shared_by_both() -> None:
    long = incident(MONTH_MINUTES - 10, 25)
    rows = month_figures(
        [long], [(NOVEMBER, DECEMBER + timedelta(days=1))], {PIPELINE: LEVEL},
        [NOVEMBER, DECEMBER], DECEMBER + timedelta(days=1),
    )  # fmt: skip
    assert [(row.month, row.down_minutes) for row in rows] == [("2026-12", 15), ("2026-11", 10)]


def test_a_month_that_nobody_watched_is_not_measured() -> None:
    row = november(watched=[])
    assert (row.availability_pct, row.keeps_availability, row.watched_pct) == (None, None, 0)


def test_a_month_without_incidents_has_no_mean_times() -> None:
    row = november()
    assert (row.detect_minutes, row.recover_minutes, row.between_minutes) == (None, None, None)
    assert row.availability_pct == 100


def test_the_time_between_failures_is_the_watched_time_for_each() -> None:
    assert november(incident(0, 1), incident(9, 1)).between_minutes == MONTH_MINUTES / 2


periods = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 900)).map(
        lambda one: (
            NOVEMBER + timedelta(minutes=one[0]),
            NOVEMBER + timedelta(minutes=one[0] + one[1]),
        )
    ),
    max_size=6,
)


@given(periods, periods)
def test_common_time_is_every_minute_that_is_in_both(some: list, others: list) -> None:
    def members(found: list) -> set[int]:
        return {
            m
            for start, end in found
            for m in range(
                int((start - NOVEMBER).total_seconds() // 60),
                int((end - NOVEMBER).total_seconds() // 60),
            )
        }

    assert minutes(common(some, others)) == len(members(some) & members(others))
    assert minutes(joined(some)) == len(members(some))


@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 5000)), max_size=6),
    periods,
)
def test_availability_is_a_share_of_the_watched_time(broken: list, watched: list) -> None:
    row = november(*(incident(began, lasted) for began, lasted in broken), watched=watched)
    assert 0 <= row.down_minutes <= row.watched_minutes <= MONTH_MINUTES
    assert row.availability_pct is None or 0 <= row.availability_pct <= 100


def test_what_became_critical_later_is_down_only_since_then() -> None:
    worse = replace(incident(0, 60), severe_at=NOVEMBER + timedelta(minutes=50))
    assert november(worse).down_minutes == 10
