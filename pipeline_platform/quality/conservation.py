"""The conservation ledger: what arrived at a hop is published, quarantined, deduplicated or held.

Unit = one delivered record. A hop that loses or doubles a record has an entry whose imbalance is
not 0; a record that is lost between two hops shows as a gap (B-8, SA-84).
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
_COUNTS = "arrived, published, quarantined, deduplicated, held_late"


@dataclass(frozen=True)
class LedgerEntry:
    """The records of one file and partition at one hop; the partition is '' where unknown."""

    pipeline: str
    hop: str
    file_sha256: str
    partition_key: str
    arrived: int
    published: int
    quarantined: int
    deduplicated: int
    held_late: int

    @property
    def imbalance(self) -> int:
        """Records that nothing accounts for: more than 0 were lost, less than 0 doubled."""
        accounted = self.published + self.quarantined + self.deduplicated + self.held_late
        return self.arrived - accounted


@dataclass(frozen=True)
class Gap:
    """Records that one hop published for a file and partition but the next one did not receive."""

    file_sha256: str
    partition_key: str
    published: int
    arrived: int


def find_imbalances(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Return the entries that don't balance."""
    return [entry for entry in entries if entry.imbalance != 0]


def find_gaps(
    earlier: Iterable[LedgerEntry],
    later: Iterable[LedgerEntry],
    *,
    pending: Iterable[str] = (),
) -> list[Gap]:
    """Return where the later hop received something else than the earlier one published.

    `pending` names partitions that the later hop has yet to process; they are left out.
    """
    published = {(e.file_sha256, e.partition_key): e.published for e in earlier if e.published}
    arrived = {(e.file_sha256, e.partition_key): e.arrived for e in later if e.arrived}
    left_out = set(pending)
    return [
        Gap(sha256, key, published.get((sha256, key), 0), arrived.get((sha256, key), 0))
        for sha256, key in sorted(published.keys() | arrived.keys())
        if key not in left_out and published.get((sha256, key), 0) != arrived.get((sha256, key), 0)
    ]


def record_entries(
    conn: Connection,
    entries: Sequence[LedgerEntry],
    *,
    run_id: str,
    now: datetime,
    replacing: tuple[str, Sequence[str]] | None = None,
    pipeline: str | None = None,
) -> None:
    """Write entries; repeating it changes nothing but run and time.

    Without `replacing` they take the place of all that the ledger said of the same files at the
    same hop. With `replacing=(hop, partition_keys)` they take the place of all that it said of
    these partitions at that hop, for a partition is judged anew as a whole; what another run had
    said is kept for an undo. `pipeline` may be left out where there are entries; without any it is
    needed to clear emptied partitions.
    """
    pipeline = pipeline or (entries[0].pipeline if entries else None)
    if pipeline is None:
        return
    columns = f"pipeline, hop, file_sha256, partition_key, {_COUNTS}, run_id, recorded_at"
    with conn.transaction():
        if replacing is None:
            files = sorted({(entry.hop, entry.file_sha256) for entry in entries})
            conn.execute(
                """
                DELETE FROM conservation_ledger AS ledger
                USING unnest(%s::text[], %s::text[]) AS replaced (hop, file_sha256)
                WHERE ledger.pipeline = %s AND ledger.hop = replaced.hop
                  AND ledger.file_sha256 = replaced.file_sha256
                """,
                ([hop for hop, _ in files], [sha256 for _, sha256 in files], pipeline),
            )
        else:
            hop, keys = replacing
            conn.execute(
                f"""
                WITH replaced AS (
                    DELETE FROM conservation_ledger
                    WHERE pipeline = %(pipeline)s AND hop = %(hop)s
                      AND partition_key = ANY(%(keys)s)
                    RETURNING {columns}
                )
                INSERT INTO replaced_ledger ({columns}, replaced_by, replaced_at)
                SELECT {columns}, %(run_id)s, %(now)s FROM replaced WHERE run_id <> %(run_id)s
                ON CONFLICT DO NOTHING
                """.encode(),
                {
                    "pipeline": pipeline,
                    "hop": hop,
                    "keys": list(keys),
                    "run_id": run_id,
                    "now": now,
                },
            )
        with (
            conn.cursor() as cursor,
            cursor.copy(f"COPY conservation_ledger ({columns}) FROM STDIN".encode()) as copy,
        ):
            for entry in entries:
                copy.write_row((*astuple(entry), run_id, now))


def ledger(
    conn: Connection,
    pipeline: str,
    *,
    hop: str | None = None,
    file_sha256: str | None = None,
    partition_key: str | None = None,
) -> list[LedgerEntry]:
    """Return the entries of a pipeline, by hop, file and partition."""
    rows = conn.execute(
        f"""
        SELECT pipeline, hop, file_sha256, partition_key, {_COUNTS}
        FROM conservation_ledger
        WHERE pipeline = %(pipeline)s
          AND (%(hop)s::text IS NULL OR hop = %(hop)s)
          AND (%(file)s::text IS NULL OR file_sha256 = %(file)s)
          AND (%(key)s::text IS NULL OR partition_key = %(key)s)
        ORDER BY hop, file_sha256, partition_key
        """.encode(),
        {"pipeline": pipeline, "hop": hop, "file": file_sha256, "key": partition_key},
    ).fetchall()
    return [LedgerEntry(*row) for row in rows]


def imbalances(conn: Connection, pipeline: str) -> list[LedgerEntry]:
    """Return the entries of a pipeline that don't balance; the database does the sums."""
    rows = conn.execute(
        f"""
        SELECT pipeline, hop, file_sha256, partition_key, {_COUNTS}
        FROM conservation_ledger
        WHERE pipeline = %s AND arrived <> published + quarantined + deduplicated + held_late
        ORDER BY hop, file_sha256, partition_key
        """.encode(),
        (pipeline,),
    ).fetchall()
    return [LedgerEntry(*row) for row in rows]


def gaps(conn: Connection, pipeline: str, earlier_hop: str, later_hop: str) -> list[Gap]:
    """Return what is lost between two hops, partitions that still wait for work left out."""
    pending = conn.execute(
        "SELECT partition_key FROM partition_work WHERE pipeline = %s", (pipeline,)
    ).fetchall()
    return find_gaps(
        ledger(conn, pipeline, hop=earlier_hop),
        ledger(conn, pipeline, hop=later_hop),
        pending=[key for (key,) in pending],
    )
