"""How each check must end on the demo's sample, so that the demo fails when one ends otherwise."""

from collections.abc import Iterable, Mapping

Outcomes = frozenset[str]
NOT_MEASURABLE, FAIL, PASS = "not measurable", "fail", "pass"

EXPECTED: Mapping[str, Outcomes] = {
    # The sample is too small for them.
    "return_variance": frozenset({NOT_MEASURABLE}),
    "pipeline_success_rate": frozenset({NOT_MEASURABLE, PASS}),
    # The sample's events end yesterday and cover five days, on two of which little happens.
    "rows_of_today": frozenset({FAIL}),
    "last_closed_date": frozenset({FAIL}),
    "hourly_volume": frozenset({FAIL, PASS}),
    # It has too few steps, or some that a loaded machine makes slow.
    "task_latency": frozenset({FAIL, NOT_MEASURABLE, PASS}),
    # Nobody probes the demo for a day.
    "availability": frozenset({FAIL, NOT_MEASURABLE, PASS}),
    "mean_time_to_recovery": frozenset({FAIL, NOT_MEASURABLE, PASS}),
    # The first of all checks has no other one to look at.
    "monitoring_gap": frozenset({NOT_MEASURABLE, PASS}),
    # What is not configured can't be measured.
    "advisory_performance_cost_anomaly": frozenset({NOT_MEASURABLE, PASS}),
    "web_events_cost_increase": frozenset({NOT_MEASURABLE, PASS}),
    "stream_error_rate": frozenset({NOT_MEASURABLE, PASS}),
    "stream_iterator_age": frozenset({NOT_MEASURABLE, PASS}),
    "stream_silence": frozenset({NOT_MEASURABLE, PASS}),
    "stream_retention_used": frozenset({NOT_MEASURABLE, PASS}),
    **dict.fromkeys(
        (
            *("access", "encryption", "rotation", "audit_trail", "tags"),
            "breaches_of_advisory_performance",
        ),
        frozenset({NOT_MEASURABLE, PASS}),
    ),
    # The demo makes no backup, and may be run again after days.
    "advisory_performance_backup_age": frozenset({FAIL, PASS}),
    "advisory_performance_backup_faults": frozenset({NOT_MEASURABLE, PASS}),
    "advisory_performance_second_copy_age": frozenset({FAIL, NOT_MEASURABLE, PASS}),
    "advisory_performance_recoverable_point": frozenset({FAIL, PASS}),
    "advisory_performance_recovery_time": frozenset({NOT_MEASURABLE, PASS}),
    "web_events_unsaved_tables": frozenset({FAIL, NOT_MEASURABLE, PASS}),
    # Some of the sample's vendor files are made to be refused; those of web events are not.
    "refused_files": frozenset({FAIL, PASS}),
    # How busy the machine is says nothing of the platform.
    "unused_indexes": frozenset({FAIL, NOT_MEASURABLE, PASS}),
    "disk_used": frozenset({FAIL, PASS}),
    "database_cpu": frozenset({FAIL, PASS, NOT_MEASURABLE}),
    "database_query_response": frozenset({FAIL, PASS}),
}
"""Checks that need not pass, by name, and how they may end; every other one must pass."""


def unexpected_outcomes(
    outcomes: Iterable[tuple[str, str, str | None]], *, is_small: bool = False
) -> list[str]:
    """Say which checks ended otherwise than they must; nothing if all is well.

    `outcomes`: asset, check and outcome, None for one that was never evaluated. On a sample that
    is smaller than the demo's own (`is_small`) more may be not measurable.
    """
    found = []
    for asset, check, outcome in sorted(outcomes, key=lambda one: one[:2]):
        allowed = EXPECTED.get(check, frozenset({PASS}))
        if outcome is None:
            found.append(f"{asset}: {check} was not evaluated")
        elif outcome not in allowed and not (is_small and outcome == NOT_MEASURABLE):
            found.append(f"{asset}: {check} ended as {outcome}, not {' or '.join(sorted(allowed))}")
    return found
