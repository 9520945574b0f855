"""Old snapshots forgotten, but none that somebody still reads, names or relies on.

Only metadata change here; the files that no snapshot needs any more are removed as orphans.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.dbt_runs import pinned_snapshots
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import RUN_ID, Publication
from pipeline_platform.lake.tables import LakeTable

if TYPE_CHECKING:
    from pyiceberg.table import Table

LONGEST_USE = timedelta(days=1)
"""For so long after the next one took its place a snapshot may be needed, however many follow."""


@dataclass(frozen=True)
class OldSnapshot:
    """A remembered snapshot: why it stays, or None if it may go.

    `superseded_at` is when readers stopped to see it, None for the current one.
    """

    snapshot_id: int
    committed_at: datetime
    superseded_at: datetime | None
    kept_because: str | None


def plan_expiry(
    lake: Lake,
    table: LakeTable,
    *,
    kept_for: timedelta,
    kept_count: int,
    kept_most: int | None = None,
    now: datetime,
    unfinished_runs: Collection[str],
) -> list[OldSnapshot]:
    """Return every remembered snapshot, oldest first, with the reason for which it is kept.

    A snapshot goes when it was superseded more than `kept_for` ago and is none of the newest
    `kept_count`. Of more than `kept_most` the oldest go a day after they were superseded: a table
    that is committed to every minute would have metadata that make each commit slow. A snapshot's
    age counts from when it was superseded, not from its commit: a reader may have opened it just
    before. So `kept_for` must be longer than the longest run, with its retries: then no run that
    can still be repeated misses the publication that it made. Kept in any case are the current
    one, tags and heads of branches, those that a dbt run was given and those of unfinished runs.
    """
    return _judged(
        lake,
        table,
        lake.iceberg(table),
        kept_after=now - kept_for,
        now=now,
        kept_count=kept_count,
        kept_most=kept_most,
        unfinished_runs=unfinished_runs,
    )


def expire(
    lake: Lake,
    table: LakeTable,
    *,
    run_id: str,
    kept_for: timedelta,
    kept_count: int,
    kept_most: int | None = None,
    now: datetime,
    unfinished_runs: Collection[str],
) -> list[OldSnapshot]:
    """Forget what a plan made from the table's present state lets go; return those that went.

    One commit, which fails and is planned anew if a snapshot, tag or branch came in between.
    """
    from pipeline_platform.lake.replacement import remove_snapshots  # noqa: PLC0415 - slow imports

    def attempt(fresh: "Table") -> list[OldSnapshot]:
        judged = _judged(
            lake,
            table,
            fresh,
            kept_after=now - kept_for,
            now=now,
            kept_count=kept_count,
            kept_most=kept_most,
            unfinished_runs=unfinished_runs,
        )
        going = [one for one in judged if one.kept_because is None]
        if going:
            remove_snapshots(fresh, {one.snapshot_id for one in going})
        return going

    return lake.commit(table, attempt, run_id=run_id)


def snapshot_as_of(iceberg: "Table", instant: datetime) -> int:
    """Return the snapshot that readers saw at an instant; NotFoundError if it is not remembered."""
    found = iceberg.snapshot_as_of_timestamp(int(instant.timestamp() * 1000))
    if found is None:
        history = iceberg.history()
        oldest = f"the oldest is of {_instant(history[0].timestamp_ms)}" if history else "none is"
        raise NotFoundError(
            f"The table {'.'.join(iceberg.name())} remembers no snapshot that was current at "
            f"{instant.isoformat()}; {oldest}. Restore from a backup."
        )
    return found.snapshot_id


def _judged(
    lake: Lake,
    table: LakeTable,
    iceberg: "Table",
    *,
    kept_after: datetime,
    kept_count: int,
    kept_most: int | None,
    now: datetime,
    unfinished_runs: Collection[str],
) -> list[OldSnapshot]:
    snapshots = sorted(iceberg.snapshots(), key=lambda one: one.sequence_number or 0)
    superseded = _superseded(iceberg)
    references = {
        ref.snapshot_id: f"the {ref.snapshot_ref_type} {name}"
        for name, ref in iceberg.refs().items()
    }
    pinned = pinned_snapshots(lake.settings, table)
    newest = {one.snapshot_id for one in snapshots[len(snapshots) - kept_count :]}
    most = len(snapshots) if kept_most is None else kept_most
    surplus = {one.snapshot_id for one in snapshots[: max(0, len(snapshots) - most)]}
    publications = {one.snapshot_id: Publication.of(one).properties for one in snapshots}
    judged = []
    for one in snapshots:
        identity = one.snapshot_id
        committed_at = _instant(one.timestamp_ms)
        gone_at = superseded.get(identity, committed_at)
        kept_since = max(kept_after, now - LONGEST_USE) if identity in surplus else kept_after
        is_recent = gone_at is None or gone_at >= kept_since
        reasons = (
            (identity in references, references.get(identity, "")),
            (identity in pinned, "a dbt run reads it"),
            (publications[identity].get(RUN_ID) in unfinished_runs, "its run is unfinished"),
            (identity in newest, f"one of the newest {kept_count}"),
            (is_recent, f"readers saw it after {kept_since:%Y-%m-%d %H:%M}"),
        )
        kept = next((reason for holds, reason in reasons if holds), None)
        judged.append(OldSnapshot(identity, committed_at, gone_at, kept))
    return judged


def _superseded(iceberg: "Table") -> dict[int, datetime | None]:
    """Return when each snapshot of the main branch was last followed by another."""
    log = iceberg.history()
    followed = {one.snapshot_id: _instant(then.timestamp_ms) for one, then in pairwise(log)}
    return {**followed, **({log[-1].snapshot_id: None} if log else {})}


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
