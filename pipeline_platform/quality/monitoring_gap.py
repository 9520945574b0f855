"""What nobody watches: checks that are overdue, or can't be measured for too long (B-14, SP-16)."""

from datetime import timedelta

from pipeline_platform.quality.measurements import Measurement, unmeasured
from pipeline_platform.quality.measures import ALL, Labelled, Run, Scope

NAME = "monitoring_gap"
_STATES = """
    SELECT name,
        EXISTS (SELECT FROM check_observations AS one WHERE one.pipeline = %(pipeline)s
            AND check_name = name AND observed_at > %(evaluated_since)s),
        EXISTS (SELECT FROM check_observations AS one WHERE one.pipeline = %(pipeline)s
            AND check_name = name AND observed_at > %(measured_since)s
            AND outcome <> 'not_measurable'),
        (SELECT min(observed_at) FROM check_observations AS one
            WHERE one.pipeline = %(pipeline)s AND check_name = name)
    FROM unnest(%(names)s::text[]) AS name ORDER BY name
"""


def monitoring_gap(scope: Scope[Run]) -> Labelled:
    """Count the checks of the runbook that tell nothing: overdue, or not measurable for too long.

    A check is overdue that was not evaluated for `checks_expected_every_minutes`; one that never
    was is, once the others have been for so long. Checks that decide on a publication are
    evaluated with it, so they are never overdue. What `accepted_gaps` names may be not measurable.
    """
    runbook, now = scope.run.runbook, scope.run.now()
    rulings = runbook.rulings
    blocking = {threshold.name for threshold in runbook.blocking_thresholds}
    expected = timedelta(minutes=rulings.checks_expected_every_minutes)
    patience = timedelta(minutes=rulings.measured_every_minutes)
    rows = scope.rows(
        _STATES,
        names=[name for name in runbook.thresholds if name != NAME and name not in blocking],
        evaluated_since=now - expected,
        measured_since=now - patience,
    )
    began = min((first for *_, first in rows if first is not None), default=None)
    if began is None:
        return {ALL: unmeasured(NAME, "no check was evaluated yet")}
    gaps = []
    for name, is_evaluated, is_measured, first in rows:
        if not is_evaluated and (first or began) <= now - expected:
            gaps.append(f"{name}: not evaluated for {_words(expected)}")
        elif (
            first is not None
            and not is_measured
            and first <= now - patience
            and name not in rulings.accepted_gaps
        ):
            gaps.append(f"{name}: not measurable for {_words(patience)}")
    return {
        ALL: Measurement(
            NAME, len(gaps), len(gaps), len(rows), sample_size=len(rows), offenders=tuple(gaps)
        )
    }


def _words(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours:g} hours" if hours < 48 else f"{hours / 24:g} days"
