"""Capacity: what grows, how it goes on, and when it reaches its limit (SW-65, SW-66, SA-48).

Limits stand in a pipeline's runbook, by the series' name. A series that can't be forecast says
why; nothing is made up for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.forecasts import (
    Crossing,
    Forecast,
    Series,
    crossing,
    forecast,
    not_forecastable_reason,
)
from pipeline_platform.runbook import Alerting

MINIMUM_DAYS = 28
"""Four weeks: fewer can't tell a weekday from a trend."""
OLDEST_DAYS = 7
"""A forecast from older observations would be one of the past."""
Row = dict[str, object]


@dataclass(frozen=True)
class Outlook:
    """One series, its forecast or why there is none, and when its limit is crossed if it has one.

    `is_crossed`: the last observed value is at the limit already.
    """

    series: Series
    limit: float | None
    forecast: Forecast | None
    crossing: Crossing | None
    not_measurable_reason: str | None

    @property
    def is_crossed(self) -> bool:
        """Tell whether the last observed value has reached the limit."""
        return bool(
            self.limit is not None and self.series.values and self.series.values[-1] >= self.limit
        )

    def row(self) -> Row:
        """Return what a person or a script wants to know, with plain values."""
        made, when = self.forecast, self.crossing
        return {
            "series": self.series.name,
            "unit": self.series.unit,
            "observed_days": len(self.series.days),
            "last_day": self.series.days[-1] if self.series.days else None,
            "last_value": round(self.series.values[-1]) if self.series.values else None,
            "forecast_day": made.days[-1] if made else None,
            "median": round(made.median[-1]) if made else None,
            "lower_90_pct": round(made.lower[-1]) if made else None,
            "upper_90_pct": round(made.upper[-1]) if made else None,
            "limit": self.limit,
            "is_crossed": self.is_crossed,
            "crossing_probability": round(when.probability, 3) if when else None,
            "crossing_earliest": when.earliest if when else None,
            "crossing_median": when.median if when else None,
            "crossing_latest": when.latest if when else None,
            "not_measurable_reason": self.not_measurable_reason,
        }

    @property
    def sentence(self) -> str:
        """Say it in one sentence."""
        title, unit = self.series.title, self.series.unit
        if self.forecast is None:
            return f"{title} is not measurable: {self.not_measurable_reason}."
        last = self.forecast.days[-1]
        text = (
            f"{title}: {self.series.values[-1]:,.0f} {unit} on {self.series.days[-1]}, "
            f"{self.forecast.median[-1]:,.0f} expected on {last} (90 % of the outcomes lie between "
            f"{self.forecast.lower[-1]:,.0f} and {self.forecast.upper[-1]:,.0f})"
        )
        if self.limit is None or self.crossing is None:
            return f"{text}; it has no limit in the runbook."
        limit = f"the limit of {self.limit:,.0f}"
        if self.is_crossed:
            return f"{text}; {limit} is crossed already."
        share = f"{self.crossing.probability:.0%}"
        if self.crossing.median is None:
            return f"{text}; {limit} is probably not crossed until then ({share})."
        return (
            f"{text}; {limit} is crossed about {self.crossing.median}, between "
            f"{self.crossing.earliest} and {self.crossing.latest or f'a day after {last}'}."
        )


def outlooks(
    series: Iterable[Series], limits: Mapping[str, float], *, today: date, horizon_days: int
) -> list[Outlook]:
    """Forecast each series up to `horizon_days` after today, and find when it meets its limit."""
    found = []
    for one in series:
        limit = limits.get(one.name)
        reason = not_forecastable_reason(
            one, today, minimum_days=MINIMUM_DAYS, oldest_days=OLDEST_DAYS
        )
        if reason is not None:
            found.append(Outlook(one, limit, None, None, reason))
            continue
        until = today + timedelta(days=horizon_days)
        made = forecast(one, (until - one.days[-1]).days)
        when = None if limit is None else crossing(made, limit)
        found.append(Outlook(one, limit, made, when, None))
    return found


def finding_of(outlook: Outlook, alerting: Alerting, at: datetime) -> Finding | None:
    """Return what an outlook says to whoever is told of capacity; None where it says nothing.

    It is broken when the limit is crossed, or probably will be before the forecast ends. Without a
    limit or a forecast nothing is known.
    """
    if outlook.limit is None or outlook.crossing is None:
        return None
    name = alerting.alerts.capacity
    route = alerting.routes[name]
    subject = outlook.series.name
    return Finding(
        pipeline=alerting.pipeline,
        name=f"capacity:{subject}",
        kind="capacity",
        subject=subject,
        is_fine=not outlook.is_crossed and outlook.crossing.median is None,
        at=at,
        severity=route.severity,
        route=name,
        response_minutes=alerting.response_minutes(name),
        sentence=outlook.sentence,
        remedy=route.remedy.filled(pipeline=alerting.pipeline, asset=subject, run=""),
    )


def plot(found: Sequence[Outlook], path: Path) -> None:
    """Draw history, median, interval, limit and crossing of each forecast series into a picture.

    The file's ending says which kind (png, svg, pdf). A series without a forecast is drawn with
    its reason.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 -- slow import

    figure = Figure(figsize=(9, 2.8 * max(1, len(found))), layout="constrained")
    rows = figure.subplots(max(1, len(found)), squeeze=False)
    for axes, one in zip(rows[:, 0], found, strict=False):
        axes.plot(one.series.days, one.series.values, color="black", linewidth=1)
        title = one.series.title
        if one.forecast is None:
            title += f" (not measurable: {one.not_measurable_reason})"
        else:
            made = one.forecast
            axes.plot(made.days, made.median, color="tab:blue")
            axes.fill_between(made.days, made.lower, made.upper, color="tab:blue", alpha=0.2)
        if one.limit is not None:
            axes.axhline(one.limit, linestyle="--", color="tab:red", linewidth=1)
        if one.crossing is not None and one.crossing.median is not None:
            axes.axvline(one.crossing.median, linestyle=":", color="tab:red", linewidth=1)
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(one.series.unit, fontsize=8)
        axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=100)
