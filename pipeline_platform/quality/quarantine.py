"""Quarantine: records and files that were held back, with reason, until they pass or are discarded.

A record's place is pipeline, hop, file and line. Judging again is what replays it: silver is a
function of all bronze rows, so `settle_rows` only has to compare what is rejected now with what
was held before (XC-6, B-9). Every newly held record also writes one data-quality issue (SA-26).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import psycopg

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.quality.stored_text import storable
from pipeline_platform.spooled_rows import SpooledRows

Connection = psycopg.Connection[Any]
State = Literal["HELD", "REPLAYED", "DISCARDED"]


@dataclass(frozen=True)
class QuarantinedRow:
    """One rejected record: where it came from, by which rule and why, and its text.

    `partition_key` is the month 'YYYY-MM-01', or '' where the record has no valid one.
    """

    pipeline: str
    hop: str
    file_sha256: str
    file_name: str
    vendor: str | None
    line_number: int
    partition_key: str
    rule: str
    reason: str
    column_name: str | None
    record: str | None
    run_id: str

    @property
    def place(self) -> tuple[str, str, int]:
        """What identifies the record: hop, file, line."""
        return (self.hop, self.file_sha256, self.line_number)


def without_text(rows: Iterable[QuarantinedRow]) -> Iterator[QuarantinedRow]:
    """Yield records without what was delivered, to be counted and compared."""
    return (replace(row, record=None) for row in rows)


class QuarantinedRows(SpooledRows[QuarantinedRow]):
    """Rejected records on their way to quarantine, however many."""

    def __init__(self, rows: Iterable[QuarantinedRow] = ()) -> None:
        super().__init__(QuarantinedRow, rows)


@dataclass(frozen=True)
class HeldRow:
    """A quarantined record as it is stored."""

    quarantine_id: int
    row: QuarantinedRow
    state: State
    quarantined_at: datetime
    resolved_at: datetime | None
    resolution: str | None


@dataclass(frozen=True)
class Settlement:
    """What settling changed: records newly held, and records that pass now."""

    held: int
    passed: int


_ROW = (
    "pipeline, hop, file_sha256, file_name, vendor, line_number, partition_key, rule, reason, "
    "column_name, record, run_id"
)
_SELECT = (
    f"SELECT {_ROW}, quarantine_id, state, quarantined_at, resolved_at, resolution"
    " FROM quarantined_rows"
)
_ISSUES_OF = """
    UPDATE data_quality_issues AS issue SET resolved_at = %(now)s
    FROM settled
    WHERE issue.pipeline = %(pipeline)s AND issue.issue_type = 'record'
      AND issue.file_sha256 = settled.file_sha256 AND issue.line_number = settled.line_number
      AND issue.resolved_at IS NULL
"""


def settle_rows(
    conn: Connection,
    pipeline: str,
    hop: str,
    rejected: Iterable[QuarantinedRow],
    *,
    now: datetime,
    files: Sequence[str] | None = None,
    partitions: Sequence[str] | None = None,
) -> Settlement:
    """Make quarantine say what judging these files or partitions just said; repeatable.

    A rejected record is held (again); a record of the judged files or partitions that is no
    longer rejected becomes REPLAYED. A discarded record that is rejected again stays discarded.
    Give exactly one of `files` and `partitions`.
    """
    if (files is None) == (partitions is None):
        raise PermanentError("settle_rows needs either files or partitions.")
    scope = "file_sha256" if files is not None else "partition_key"
    parameters = {
        "pipeline": pipeline,
        "hop": hop,
        "now": now,
        "scope": list(files if files is not None else partitions or ()),
    }
    with conn.transaction(), _hash_joins(conn):
        _copy_rejected(conn, rejected)
        held = conn.execute(_HOLD.encode(), parameters).rowcount
        passed = conn.execute(
            f"""
            WITH settled AS (
                UPDATE quarantined_rows AS held SET
                    state = 'REPLAYED', resolved_at = %(now)s,
                    resolution = 'no rule rejects it any more'
                WHERE pipeline = %(pipeline)s AND hop = %(hop)s AND {scope} = ANY(%(scope)s)
                  AND state <> 'REPLAYED'
                  AND NOT EXISTS (
                      SELECT FROM rejected_now AS rejected
                      WHERE rejected.file_sha256 = held.file_sha256
                        AND rejected.line_number = held.line_number
                  )
                RETURNING file_sha256, line_number
            ), closed AS ({_ISSUES_OF})
            SELECT file_sha256 FROM settled
            """.encode(),
            parameters,
        ).rowcount
    return Settlement(held, passed)


def list_rows(
    conn: Connection,
    pipeline: str,
    *,
    state: State | None = "HELD",
    file_sha256: str | None = None,
    rule: str | None = None,
    vendor: str | None = None,
    partition_key: str | None = None,
    limit: int | None = 100,
    with_text: bool = True,
) -> list[HeldRow]:
    """Return quarantined records, the newest first; `file_sha256` may be a hash's beginning.

    Without their text they are small, however long a line was.
    """
    select = _SELECT if with_text else _SELECT.replace(" record,", " NULL,", 1)
    return [
        _held_row(row)
        for row in conn.execute(
            f"""
            {select} WHERE pipeline = %(pipeline)s
              AND (%(state)s::text IS NULL OR state = %(state)s)
              AND (%(file)s::text IS NULL OR starts_with(file_sha256, %(file)s))
              AND (%(rule)s::text IS NULL OR rule = %(rule)s)
              AND (%(vendor)s::text IS NULL OR vendor = %(vendor)s)
              AND (%(key)s::text IS NULL OR partition_key = %(key)s)
            ORDER BY quarantined_at DESC, file_sha256, line_number LIMIT %(limit)s
            """.encode(),
            {
                "pipeline": pipeline,
                "state": state,
                "file": file_sha256,
                "rule": rule,
                "vendor": vendor,
                "key": partition_key,
                "limit": limit,
            },
        ).fetchall()
    ]


def show_row(conn: Connection, pipeline: str, quarantine_id: int) -> HeldRow:
    """Return one quarantined record; raise NotFoundError if there is none of that number."""
    row = conn.execute(
        f"{_SELECT} WHERE pipeline = %s AND quarantine_id = %s".encode(),
        (pipeline, quarantine_id),
    ).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no quarantined record {quarantine_id} of {pipeline}; "
            "list the quarantine to see the numbers."
        )
    return _held_row(row)


def discard_rows(
    conn: Connection,
    pipeline: str,
    quarantine_ids: Sequence[int],
    *,
    resolution: str,
    now: datetime,
) -> int:
    """Give held records up for good, with a reason; they stay counted as quarantined.

    Raises NotFoundError, and changes nothing, if one of them isn't held.
    """
    wanted = sorted(set(quarantine_ids))
    with conn.transaction(), _hash_joins(conn):
        changed = conn.execute(
            f"""
            WITH settled AS (
                UPDATE quarantined_rows SET
                    state = 'DISCARDED', resolved_at = %(now)s, resolution = %(resolution)s
                WHERE pipeline = %(pipeline)s AND quarantine_id = ANY(%(ids)s) AND state = 'HELD'
                RETURNING file_sha256, line_number
            ), closed AS ({_ISSUES_OF})
            SELECT file_sha256 FROM settled
            """.encode(),
            {"now": now, "resolution": resolution, "pipeline": pipeline, "ids": wanted},
        ).rowcount
        if changed != len(wanted):
            raise NotFoundError(
                f"Only {changed} of {len(wanted)} records of {pipeline} are held in quarantine, "
                "so none was discarded; list the quarantine to see which are."
            )
    return changed


@contextmanager
def _hash_joins(conn: Connection) -> Iterator[None]:
    """Keep the planner from nested loops: it takes tables that just grew for nearly empty ones.

    With them 50,000 records against 100,000 issues took more than three minutes, not seconds.
    """
    row = conn.execute("SELECT current_setting('enable_nestloop')").fetchone()
    conn.execute("SET LOCAL enable_nestloop = off")
    yield
    conn.execute("SELECT set_config('enable_nestloop', %s, true)", row)


def _copy_rejected(conn: Connection, rejected: Iterable[QuarantinedRow]) -> None:
    conn.execute(
        """
        CREATE TEMP TABLE IF NOT EXISTS rejected_now (
            pipeline text, hop text, file_sha256 text COLLATE "C", file_name text, vendor text,
            line_number bigint, partition_key text, rule text, reason text, column_name text,
            record text, run_id text
        ) ON COMMIT DROP
        """
    )
    conn.execute("TRUNCATE rejected_now")
    with conn.cursor() as cursor, cursor.copy("COPY rejected_now FROM STDIN") as copy:
        for row in rejected:
            copy.write_row(
                (
                    row.pipeline,
                    row.hop,
                    row.file_sha256,
                    storable(row.file_name),
                    row.vendor,
                    row.line_number,
                    row.partition_key,
                    row.rule,
                    storable(row.reason),
                    row.column_name,
                    storable(row.record),
                    row.run_id,
                )
            )
    conn.execute("ANALYZE rejected_now")


_HOLD = f"""
    WITH settled AS (
        INSERT INTO quarantined_rows AS held ({_ROW}, quarantined_at)
        SELECT {_ROW}, %(now)s FROM rejected_now
        ON CONFLICT (pipeline, hop, file_sha256, line_number) DO UPDATE SET
            partition_key = excluded.partition_key, rule = excluded.rule,
            reason = excluded.reason, column_name = excluded.column_name,
            record = excluded.record, run_id = excluded.run_id, state = 'HELD',
            quarantined_at = excluded.quarantined_at, resolved_at = NULL, resolution = NULL
        WHERE held.state = 'REPLAYED'
           OR (held.state = 'HELD' AND (held.rule, held.reason, held.partition_key)
               IS DISTINCT FROM (excluded.rule, excluded.reason, excluded.partition_key))
        RETURNING {_ROW}
    ), closed AS ({_ISSUES_OF}),
    opened AS (
        INSERT INTO data_quality_issues (
            pipeline, severity, issue_type, rule, table_name, run_id, partition_key, file_name,
            file_sha256, line_number, description, created_at
        )
        SELECT pipeline, 'warning', 'record', rule, hop, run_id, partition_key, file_name,
            file_sha256, line_number, reason, %(now)s
        FROM settled
    )
    SELECT file_sha256 FROM settled
"""


def _held_row(values: Sequence[Any]) -> HeldRow:
    width = len(_ROW.split(", "))
    return HeldRow(values[width], QuarantinedRow(*values[:width]), *values[width + 1 :])
