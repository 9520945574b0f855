"""A measured value and its verdict against one threshold of a runbook.

A value that can't be measured is neither pass nor fail: it is `not_measurable`, with the reason
(XC-2, B-14).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pipeline_platform.quality.thresholds import Band, Severity, Threshold

Outcome = Literal["pass", "fail", "not_measurable"]
MAX_OFFENDERS = 10


@dataclass(frozen=True)
class Measurement:
    """What was observed, in the unit of the threshold of the same name.

    `sample_size` is the number of observations behind the value; None means that the value is a
    fact that needs no sample. `offenders` are keys of what broke the rule (at most ten are kept),
    `history` earlier values, oldest first, for a plot. `parts` are the figures that the value is
    made of, such as a score by dimension.
    """

    name: str
    value: float | None
    numerator: float | None = None
    denominator: float | None = None
    sample_size: int | None = None
    offenders: tuple[str, ...] = ()
    not_measurable_reason: str | None = None
    history: tuple[tuple[datetime, float], ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keep a bounded number of offending keys."""
        object.__setattr__(self, "offenders", tuple(self.offenders)[:MAX_OFFENDERS])


@dataclass(frozen=True)
class Verdict:
    """How a measurement stands against its threshold.

    `limit` is the broken limit, or the nearest one when nothing is broken. `is_blocking` tells
    that the staged rows must not be published. `parts` are the measurement's.
    """

    name: str
    outcome: Outcome
    severity: Severity | None
    limit: float | None
    sentence: str
    value: float | None = None
    numerator: float | None = None
    denominator: float | None = None
    unit: str = ""
    response_minutes: int | None = None
    route: str | None = None
    is_blocking: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)


def judge(measurement: Measurement, threshold: Threshold) -> Verdict:
    """Compare a measurement with its threshold; the most severe broken band decides (XC-2)."""
    reason = _not_measurable_reason(measurement, threshold)
    mildest = threshold.severest_first[-1]
    if reason is not None or measurement.value is None:
        sentence = f"{threshold.title} is not measurable: {reason}."
        return _verdict(measurement, threshold, "not_measurable", sentence, limit_of=mildest)
    shown = f"{threshold.title} is {measurement.value:g} {threshold.unit}"
    for band in threshold.severest_first:
        if not _keeps(measurement.value, band, threshold):
            sentence = f"{shown}, but must be {_wanted(band, threshold)}."
            return _verdict(measurement, threshold, "fail", sentence, limit_of=band, broken=band)
    sentence = f"{shown}, as it must be {_wanted(mildest, threshold)}."
    return _verdict(measurement, threshold, "pass", sentence, limit_of=mildest)


def unmeasured(name: str, reason: str) -> Measurement:
    """Return a measurement without a value, with the reason why there is none (B-14)."""
    return Measurement(name, None, not_measurable_reason=reason.rstrip("."))


def percentage(
    name: str,
    numerator: float,
    denominator: float,
    *,
    offenders: Sequence[str] = (),
    history: Sequence[tuple[datetime, float]] = (),
) -> Measurement:
    """Return numerator of denominator in percent; the denominator is the sample size."""
    return Measurement(
        name,
        100 * numerator / denominator if denominator else None,
        numerator,
        denominator,
        int(denominator),
        tuple(offenders),
        None if denominator else "there is nothing to compare",
        tuple(history),
    )


def _not_measurable_reason(measurement: Measurement, threshold: Threshold) -> str | None:
    if measurement.not_measurable_reason is not None:
        return measurement.not_measurable_reason
    if measurement.value is None or not math.isfinite(measurement.value):
        return "no value was observed"
    sample = measurement.sample_size
    if sample is not None and sample < threshold.minimum_sample:
        return f"the sample is {sample}, at least {threshold.minimum_sample} are needed"
    return None


def _keeps(value: float, band: Band, threshold: Threshold) -> bool:
    if threshold.direction == "at_least":
        return value >= band.limit if band.is_inclusive else value > band.limit
    if threshold.direction == "at_most":
        return value <= band.limit if band.is_inclusive else value < band.limit
    if band.is_inclusive:
        return band.limit <= value <= band.upper
    return band.limit < value < band.upper


def _wanted(band: Band, threshold: Threshold) -> str:
    if threshold.direction == "between":
        ends = "ends included" if band.is_inclusive else "ends excluded"
        return f"between {band.limit:g} and {band.upper_limit:g} {threshold.unit} ({ends})"
    words = {
        ("at_least", True): "at least",
        ("at_least", False): "more than",
        ("at_most", True): "at most",
        ("at_most", False): "less than",
    }[threshold.direction, band.is_inclusive]
    return f"{words} {band.limit:g} {threshold.unit}"


def _verdict(
    measurement: Measurement,
    threshold: Threshold,
    outcome: Outcome,
    sentence: str,
    *,
    limit_of: Band,
    broken: Band | None = None,
) -> Verdict:
    return Verdict(
        name=threshold.name,
        outcome=outcome,
        severity=broken.severity if broken else None,
        limit=limit_of.limit,
        sentence=sentence,
        value=measurement.value,
        numerator=measurement.numerator,
        denominator=measurement.denominator,
        unit=threshold.unit,
        response_minutes=broken.response_minutes if broken else None,
        route=broken.route if broken else None,
        is_blocking=bool(broken and threshold.is_blocking and broken.severity == "critical"),
        parts=measurement.parts,
    )
