"""The quality score of an event: 1, less what each broken rule costs (SW-31).

Weights are data: `rulings.score` of the runbook names rules and costs. The score says which rules
cost how much, and by which weights it was made: other weights score history anew from bronze.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.lake.engine import sql_text

RULES: Mapping[str, str] = {
    "missing_event_id": "has_own_id AND given_event_id IS NULL",
    "missing_event_type": "given_event_type IS NULL",
    "unknown_event_type": "event_type NOT IN ({known_event_types})",
    "missing_visitor": (
        "anonymous_id IS NULL AND user_id IS NULL"
        " AND (client_address IS NULL OR user_agent IS NULL)"
    ),
    "missing_user_agent": "user_agent IS NULL",
    "missing_client_address": "client_address IS NULL",
    "missing_url": "url IS NULL",
    "unreadable_url": "url IS NOT NULL AND url_path IS NULL",
    "unreadable_number": (
        "(given_value IS NOT NULL AND value IS NULL)"
        " OR (given_status_code IS NOT NULL AND status_code IS NULL)"
        " OR (given_response_bytes IS NOT NULL AND response_bytes IS NULL)"
        " OR (given_duration_ms IS NOT NULL AND duration_ms IS NULL)"
    ),
    "unreadable_currency": "given_currency IS NOT NULL AND currency IS NULL",
    "value_without_currency": "value IS NOT NULL AND given_currency IS NULL AND currency IS NULL",
    "late": "is_late",
    "clock_ahead": "event_at > received_at",
}
"""By name: the SQL condition that is true where an event breaks the rule.

It is over the typed columns, the texts that were given (`given_...`), `has_own_id` (the source's
events carry ids) and the runbook's `known_event_types`.
"""


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise InvalidRunbookError unless each weight is a cost of 0 to 1 of a rule that exists."""
    for rule, cost in weights.items():
        if rule not in RULES:
            raise InvalidRunbookError(
                f"rulings.score names the rule {rule!r}; choose from {', '.join(RULES)}."
            )
        if not 0 <= cost <= 1:
            raise InvalidRunbookError(f"rulings.score.{rule} costs {cost:g}; it must be 0 to 1.")


def score_version(weights: Mapping[str, float], known_event_types: Sequence[str]) -> str:
    """Return what equal weights and event types have in common, and no other ones."""
    told = [dict(sorted(weights.items())), sorted(set(known_event_types))]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def score_columns(weights: Mapping[str, float], known_event_types: Sequence[str]) -> str:
    """Return the SQL of data_quality_score (0 to 1), score_deductions (JSON) and score_version."""
    costs = {rule: cost for rule, cost in sorted(weights.items()) if cost > 0}
    known = ", ".join(sql_text(name) for name in known_event_types)
    broken = {rule: RULES[rule].format(known_event_types=known) for rule in costs}
    sums = " + ".join(
        f"CASE WHEN {broken[rule]} THEN {cost!r} ELSE 0 END" for rule, cost in costs.items()
    )
    lost = f"({sums or '0'})"
    parts = ", ".join(
        f"CASE WHEN {broken[rule]} THEN {sql_text(json.dumps({rule: cost})[1:-1])} END"
        for rule, cost in costs.items()
    )
    # Nearly all events break no rule: words are put together for the others only.
    return f"""
        round(greatest(0, 1 - {lost}), 6)::DOUBLE AS data_quality_score,
        CASE WHEN {lost} > 0 THEN '{{' || concat_ws(', ', {parts or "NULL"}) || '}}' ELSE '{{}}' END
            AS score_deductions,
        '{score_version(weights, known_event_types)}' AS score_version
    """
