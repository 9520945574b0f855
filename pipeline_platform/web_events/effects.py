"""What rows that are not published yet would change: in the marts, and in the outcomes of checks.

Asked before history is relabelled (B-10) and before what quarantine holds is replayed (B-9).
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from pipeline_platform.partition_ranges import ONE_DAY, dates_in
from pipeline_platform.quality.measurements import Verdict, judge
from pipeline_platform.quality.thresholds import Threshold
from pipeline_platform.web_events.measures import MEASURES, Scope
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import WEB_EVENTS

MartEffects = Callable[[RunContext, RunContext, Sequence[date]], Mapping[str, Any]]
"""Says what the marts of dates would be, given a run and the same run that sees the new rows."""


def effects(
    run: RunContext, proposed: RunContext, days: Sequence[date], marts: MartEffects
) -> dict[str, Any]:
    """Return `marts`, `failed_tests` (dbt's) and `checks` that differ for a run that sees new rows.

    `days`, in order, are those whose rows are new.
    """
    if not days:
        return {"marts": [], "failed_tests": [], "checks": []}
    return {**marts(run, proposed, days), "checks": _check_changes(run, proposed, days)}


def are_equal(one: float | None, other: float | None) -> bool:
    """Tell whether two figures are the same, in whatever order they were summed up."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def plain(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as JSON can hold it: dates as text, decimals as numbers."""

    def told(value: object) -> object:
        return float(value) if isinstance(value, Decimal) else str(value)

    found: dict[str, Any] = json.loads(json.dumps(report, default=told))
    return found


def _check_changes(
    run: RunContext, proposed: RunContext, days: Sequence[date]
) -> list[dict[str, Any]]:
    """Judge the thresholds of silver before and after, days whose baseline changes included."""
    rulings = run.runbook.rulings
    last = days[-1] + max(rulings.baseline_days, rulings.trend_days) * ONE_DAY
    found = []
    for threshold in run.runbook.thresholds.values():
        if threshold.stage != "silver" or threshold.is_blocking:
            continue
        before, after = (_verdicts(one, threshold, days[0], last) for one in (run, proposed))
        for label in sorted({*before, *after}):
            old, new = before.get(label, _NONE), after.get(label, _NONE)
            if old.outcome != new.outcome or not are_equal(old.value, new.value):
                found.append(
                    {
                        "check": threshold.name,
                        "of": label,
                        "outcome_before": old.outcome,
                        "outcome_after": new.outcome,
                        "value_before": old.value,
                        "value_after": new.value,
                        "severity_after": new.severity,
                    }
                )
    return found


_NONE = Verdict("", "not_measurable", None, None, "")
"""Of a day that has no rows yet, or would have none any more."""


def _verdicts(
    run: RunContext, threshold: Threshold, first: date, last: date
) -> Mapping[str, Verdict]:
    present = dates_in(run.services.lake.partitions(WEB_EVENTS))
    scope = Scope(run, tuple(day for day in present if first <= day <= last))
    return {label: judge(one, threshold) for label, one in MEASURES[threshold.name](scope).items()}
