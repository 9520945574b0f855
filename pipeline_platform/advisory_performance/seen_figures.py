"""From when until when a figure was served that was restated later, and what must follow (B-4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from pipeline_platform.advisory_performance.relations import as_view
from pipeline_platform.advisory_performance.restatements import VALUE, Materiality
from pipeline_platform.warehouse.figure_reads import ServedLoad


@dataclass(frozen=True)
class Served:
    """When an old figure stood in `performance_data`.

    `is_served` is None where loads from before their recording leave it open. `since` is None if
    it never was served or nobody knows since when, `until` if it never was or still is.
    """

    is_served: bool | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True)
class Remedy:
    """What the error-correction policy asks for: whom to tell, and whether to issue again."""

    notify: tuple[str, ...]
    is_reissued: bool


def with_gold_instants(
    con: DuckDBPyConnection, restatements: DuckDBPyRelation, returns: DuckDBPyRelation
) -> DuckDBPyRelation:
    """Add since when gold's returns, which are what is served, held each of the two figures.

    `restatements` has the columns of RESTATEMENTS, `returns` all versions of
    TIME_WEIGHTED_RETURNS. Adds `old_in_gold` and `new_in_gold`; null if gold never held the figure.
    A value is known when its file was received, and in gold only after the next run.
    """
    changes, versions = as_view(restatements), as_view(returns)

    def instant(figure: str, known_from: str) -> str:
        return f"""CASE WHEN measure <> '{VALUE}' THEN {known_from} ELSE (
            SELECT min(held.known_from) FROM {versions} held
            WHERE held.account_id = changed.account_id AND held.as_of_date = changed.as_of_date
                AND held.market_value = changed.{figure}
                AND held.known_from >= changed.{known_from}) END"""

    return con.sql(f"""
    SELECT changed.*, {instant("previous_value", "previously_known_from")} AS old_in_gold,
        {instant("restated_value", "restated_at")} AS new_in_gold
    FROM {changes} changed""")


def served_span(
    old_in_gold: datetime | None, new_in_gold: datetime | None, loads: Sequence[ServedLoad]
) -> Served:
    """Return when the old figure was served, by the loads of its month (oldest first).

    A load serves a figure if its gold was published after the figure came into gold.
    """
    first_known = next((one.served_at for one in loads if one.gold_published_at is None), None)

    def is_before_records(instant: datetime | None) -> bool:
        return first_known is not None and instant is not None and instant <= first_known

    def first_load(instant: datetime | None) -> datetime | None:
        if instant is None:
            return None
        if is_before_records(instant):
            return first_known
        return next(
            (
                one.served_at
                for one in loads
                if one.gold_published_at is not None and one.gold_published_at >= instant
            ),
            None,
        )

    since, until = first_load(old_in_gold), first_load(new_in_gold)
    if is_before_records(old_in_gold):
        return Served(None if is_before_records(new_in_gold) else True, None, until)
    if since is None or (until is not None and since >= until):
        return Served(False, None, None)
    return Served(True, since, until)


def remedy(
    measure: str,
    difference_bps: Decimal | None,
    is_material: bool,
    served: Served,
    policy: Materiality,
) -> Remedy:
    """Apply the policy: what is not material, or was never served, needs nothing.

    A value that was 0 before has no difference to measure and is always issued again.
    """
    if not is_material or served.is_served is False:
        return Remedy((), False)
    limit = policy.limit_bps(measure) * Decimal(str(policy.reissue_times_limit))
    return Remedy(tuple(policy.notify), difference_bps is None or abs(difference_bps) >= limit)
