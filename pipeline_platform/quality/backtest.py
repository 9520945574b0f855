"""Another limit against the observations that were kept: when would it have fired? (B-2).

Pure. Only the limit is another one: what a check observed, when it was evaluated and what was not
measurable stay as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_platform.failures import BadInputError
from pipeline_platform.quality.measurements import Measurement, judge
from pipeline_platform.quality.observations import Observation
from pipeline_platform.quality.thresholds import SEVERITIES, Band, Severity, Threshold

LEAST_OBSERVATIONS = 20
LEAST_SPAN = timedelta(days=7)
"""With less history an answer says nothing about how often a limit fires."""


@dataclass(frozen=True)
class Firing:
    """From the evaluation that broke the limit to the one that kept it again (None = not yet)."""

    began_at: datetime
    ended_at: datetime | None
    partition_key: str | None
    worst: float

    def overlaps(self, other: "Firing") -> bool:
        """Tell whether both are about the same partition at the same time."""
        ends_before = self.ended_at is not None and self.ended_at <= other.began_at
        begins_after = other.ended_at is not None and other.ended_at <= self.began_at
        return self.partition_key == other.partition_key and not (ends_before or begins_after)


@dataclass(frozen=True)
class Difference:
    """One firing under either limit; `delay` is how much later the tried limit fires."""

    today: Firing | None
    tried: Firing | None

    @property
    def either(self) -> Firing:
        """The firing under today's limit, else the one under the tried limit."""
        found = self.today or self.tried
        assert found is not None  # noqa: S101 -- a difference is of something
        return found

    @property
    def delay(self) -> timedelta | None:
        """How much later the tried limit fires than today's; None if one of them does not."""
        if self.today is None or self.tried is None:
            return None
        return self.tried.began_at - self.today.began_at


@dataclass(frozen=True)
class Backtest:
    """What a limit and another one make of the same observations."""

    threshold: Threshold
    severity: Severity
    today_limit: float
    tried_limit: float
    observations: int
    measured: int
    first_at: datetime | None
    last_at: datetime | None
    today: Sequence[Firing]
    tried: Sequence[Firing]
    differences: Sequence[Difference]

    @property
    def is_enough(self) -> bool:
        """Tell whether there is enough history to lean on."""
        if self.first_at is None or self.last_at is None:
            return False
        return self.measured >= LEAST_OBSERVATIONS and self.last_at - self.first_at >= LEAST_SPAN


def band_of(threshold: Threshold, severity: Severity | None) -> Band:
    """Return the band to try: of a severity, or the severest; BadInputError if there is none."""
    if threshold.direction == "between":
        raise BadInputError(f"{threshold.name} has two limits in one band; only one can be tried.")
    for band in threshold.severest_first:
        if severity in (None, band.severity):
            return band
    known = ", ".join(band.severity for band in threshold.severest_first)
    raise BadInputError(f"{threshold.name} has no {severity} band; it has {known}.")


def backtest(
    threshold: Threshold, band: Band, tried_limit: float, observations: Sequence[Observation]
) -> Backtest:
    """Judge the observations, oldest first, under a band's limit and under another one.

    A firing is what fails with the band's severity or a worse one.
    """
    changed = band.model_copy(update={"limit": tried_limit})
    bands = [changed if one == band else one for one in threshold.bands]
    other = threshold.model_copy(update={"bands": bands})
    today = firings(threshold, band.severity, observations)
    tried = firings(other, band.severity, observations)
    times = [one.observed_at for one in observations]
    return Backtest(
        threshold=threshold,
        severity=band.severity,
        today_limit=band.limit,
        tried_limit=tried_limit,
        observations=len(observations),
        measured=sum(one.outcome != "not_measurable" for one in observations),
        first_at=min(times, default=None),
        last_at=max(times, default=None),
        today=today,
        tried=tried,
        differences=_differences(today, tried),
    )


def firings(
    threshold: Threshold, severity: Severity, observations: Sequence[Observation]
) -> list[Firing]:
    """Return when a threshold fires with a severity or a worse one, oldest first.

    As alerts do: what is not measurable neither begins nor ends anything, and each partition is on
    its own.
    """
    severe = SEVERITIES[: SEVERITIES.index(severity) + 1]
    running: dict[str | None, Firing] = {}
    found: list[Firing] = []
    for one in observations:
        if one.outcome == "not_measurable" or one.value is None:
            continue
        verdict = judge(Measurement(threshold.name, one.value), threshold)
        present = running.get(one.partition_key)
        if verdict.outcome == "fail" and verdict.severity in severe:
            worst = one.value if present is None else _worse(present.worst, one.value, threshold)
            began_at = one.observed_at if present is None else present.began_at
            running[one.partition_key] = Firing(began_at, None, one.partition_key, worst)
        elif present is not None:
            del running[one.partition_key]
            found.append(
                Firing(present.began_at, one.observed_at, one.partition_key, present.worst)
            )
    return sorted([*found, *running.values()], key=lambda firing: firing.began_at)


def _worse(one: float, other: float, threshold: Threshold) -> float:
    return min(one, other) if threshold.direction == "at_least" else max(one, other)


def _differences(today: Sequence[Firing], tried: Sequence[Firing]) -> list[Difference]:
    """Pair what overlaps; a firing that covers several of the other limit is told with each."""
    found = []
    for one in today:
        partners = [other for other in tried if one.overlaps(other)]
        found += [Difference(one, other) for other in partners] or [Difference(one, None)]
    paired = {id(one.tried) for one in found}
    found += [Difference(None, other) for other in tried if id(other) not in paired]
    return sorted(found, key=lambda one: one.either.began_at)
