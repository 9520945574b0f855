"""Figures from incidents: time to detect and to recover, availability, error budget (XC-4).

Pure. A pipeline is down while it has a critical incident, from when the cause became critical until
it was green again, and while a probe of the platform's health fails. Only time in which the
platform was watched is counted: a month without any is not measured, and not 100 % (B-14).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from pipeline_platform.operations.incidents import Incident
from pipeline_platform.runbook import ServiceLevel

Period = tuple[datetime, datetime]
"""From an instant (included) to another (excluded)."""


@dataclass(frozen=True)
class ProbedPeriod:
    """A time in which every probe of the platform's health said the same, and how many did."""

    started_at: datetime
    ended_at: datetime
    probes: int
    is_healthy: bool

    @property
    def period(self) -> Period:
        """When it was."""
        return self.started_at, self.ended_at


@dataclass(frozen=True)
class MonthFigures:
    """One pipeline's month (UTC); minutes and percent, None where nothing was measured.

    `incidents` began in the month. `detect_minutes` is the mean time from when they broke until
    they were noticed (MTTD), `recover_minutes` until they were resolved (MTTR, without those still
    open), `between_minutes` the watched time for each (MTBF). `budget_minutes` is how long the
    pipeline may be down in the watched time, `budget_left_minutes` what is left of it. The platform
    was probed for `probed_minutes`, and not healthy for `unhealthy_minutes` of them: what it needs
    did not work, so no pipeline was available (SA-88).
    """

    pipeline: str
    month: str
    incidents: int
    critical: int
    unresolved: int
    detect_minutes: float | None
    recover_minutes: float | None
    between_minutes: float | None
    watched_minutes: float
    watched_pct: float
    probed_minutes: float
    unhealthy_minutes: float
    down_minutes: float
    availability_pct: float | None
    budget_minutes: float | None
    budget_left_minutes: float | None
    keeps_availability: bool | None
    keeps_recovery: bool | None


@dataclass(frozen=True)
class ExpectedGreen:
    """How long it took before, in minutes from being noticed until green, `count` times.

    `is_same_cause`: of this cause; else of others that the same command mends.
    """

    count: int
    median: float
    longest: float
    is_same_cause: bool


def expected_green(cause: str, past: Sequence[Incident]) -> ExpectedGreen | None:
    """Expect what it took before (B-12): of the cause, else of what the same command mended.

    `past` are resolved incidents of either kind. What a person closed by hand was not seen green,
    so it says nothing; without a past nothing is expected.
    """
    mended = [one for one in past if one.resolved_at is not None and one.resolved_by is None]
    own = [one for one in mended if one.cause == cause]
    took = [
        max(0.0, (one.resolved_at - one.opened_at).total_seconds() / 60)
        for one in own or mended
        if one.resolved_at is not None
    ]
    return ExpectedGreen(len(took), median(took), max(took), bool(own)) if took else None


def month_figures(
    incidents: Sequence[Incident],
    watched: Sequence[Period],
    service_levels: Mapping[str, ServiceLevel],
    months: Sequence[datetime],
    now: datetime,
    probed: Sequence[ProbedPeriod] = (),
) -> list[MonthFigures]:
    """Return one row for each month (its first instant) and pipeline, the newest month first."""
    return [
        _figures(
            pipeline, [one for one in incidents if one.pipeline == pipeline], watched, level,
            (month, min(next_month(month), max(now, month))), now, probed,
        )
        for month in sorted(months, reverse=True)
        for pipeline, level in sorted(service_levels.items())
    ]  # fmt: skip


def next_month(month: datetime) -> datetime:
    """Return the first instant of the month after."""
    years, index = divmod(month.month, 12)
    return datetime(month.year + years, index + 1, 1, tzinfo=UTC)


def union(periods: Iterable[Period]) -> list[Period]:
    """Return the same time without overlaps, sorted."""
    joined: list[Period] = []
    for start, end in sorted(one for one in periods if one[0] < one[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def common(some: Iterable[Period], others: Iterable[Period]) -> list[Period]:
    """Return the time that is in both."""
    mine = union(others)
    return union(
        (max(start, first), min(end, last)) for start, end in union(some) for first, last in mine
    )


def minutes(periods: Iterable[Period]) -> float:
    """Return how many minutes periods without overlaps have."""
    return sum((end - start).total_seconds() for start, end in periods) / 60


def _figures(
    pipeline: str,
    incidents: Sequence[Incident],
    watched: Sequence[Period],
    level: ServiceLevel,
    month: Period,
    now: datetime,
    probed: Sequence[ProbedPeriod],
) -> MonthFigures:
    asked = common([one.period for one in probed], [month])
    unhealthy = common([one.period for one in probed if not one.is_healthy], [month])
    seen = common([*watched, *asked], [month])
    critical = [
        (one.severe_at, one.resolved_at or now) for one in incidents if one.severity == "critical"
    ]
    down = common([*critical, *unhealthy], seen)
    began = [one for one in incidents if month[0] <= one.began_at < month[1]]
    recovered = [
        (one.resolved_at - one.began_at).total_seconds() / 60
        for one in began
        if one.resolved_at is not None
    ]
    recovery = _mean(recovered)
    watched_minutes, down_minutes = minutes(seen), minutes(down)
    length = minutes([month])
    is_measured = watched_minutes > 0
    availability = 100 * (1 - down_minutes / watched_minutes) if is_measured else None
    budget = watched_minutes * (1 - level.availability_pct / 100) if is_measured else None
    return MonthFigures(
        pipeline=pipeline,
        month=f"{month[0]:%Y-%m}",
        incidents=len(began),
        critical=sum(one.severity == "critical" for one in began),
        unresolved=sum(one.resolved_at is None for one in began),
        detect_minutes=_mean(
            [(one.opened_at - one.began_at).total_seconds() / 60 for one in began]
        ),
        recover_minutes=recovery,
        between_minutes=watched_minutes / len(began) if began and is_measured else None,
        watched_minutes=watched_minutes,
        watched_pct=100 * watched_minutes / length if length else 0.0,
        probed_minutes=minutes(asked),
        unhealthy_minutes=minutes(unhealthy),
        down_minutes=down_minutes,
        availability_pct=availability,
        budget_minutes=budget,
        budget_left_minutes=None if budget is None else budget - down_minutes,
        keeps_availability=None if availability is None else availability > level.availability_pct,
        keeps_recovery=None if recovery is None else recovery < level.recovery_minutes,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
