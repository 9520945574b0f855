"""The register of proposals: partitions staged beside a lake table, to be published or not (B-10).

Every function takes an open psycopg connection first and leaves the transaction to its caller.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args

from psycopg.types.json import Jsonb

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.warehouse.control import Connection

State = Literal["BUILDING", "READY", "PUBLISHING", "PUBLISHED", "DISCARDED", "ABANDONED"]
PENDING: tuple[State, ...] = ("BUILDING", "READY", "PUBLISHING")
"""States in which the staged files of a proposal are needed."""

_COLUMNS = "proposal_id, pipeline, table_name, state, created_at, changed_at, made_with, report"


@dataclass(frozen=True)
class Proposal:
    """What is proposed, how far it is, what it was made with and what it would change."""

    proposal_id: str
    pipeline: str
    table_name: str
    state: State
    created_at: datetime
    changed_at: datetime
    made_with: Mapping[str, Any]
    report: Mapping[str, Any] | None

    @property
    def is_pending(self) -> bool:
        """Tell whether it can still be published or thrown away."""
        return self.state in PENDING


@dataclass(frozen=True)
class Part:
    """One partition: the files that it consisted of, and those that are to take their place.

    `is_changed` is False where only versions differ.
    """

    partition: date
    base_files: tuple[str, ...]
    staged_files: tuple[str, ...]
    is_changed: bool


def begin_proposal(
    conn: Connection,
    proposal_id: str,
    pipeline: str,
    table_name: str,
    *,
    made_with: Mapping[str, Any],
    now: datetime,
) -> None:
    """Enter a proposal before anything of it is staged, so that its files are left alone."""
    conn.execute(
        "INSERT INTO lake_proposals"
        " (proposal_id, pipeline, table_name, created_at, changed_at, made_with)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (proposal_id, pipeline, table_name, now, now, Jsonb(made_with)),
    )


def put_part(conn: Connection, proposal_id: str, part: Part) -> None:
    """Enter a staged partition, or replace it; PermanentError once the proposal has ended."""
    require_state(conn, proposal_id, PENDING)
    conn.execute(
        """
        INSERT INTO lake_proposal_parts
            (proposal_id, partition_key, base_files, staged_files, is_changed)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (proposal_id, partition_key) DO UPDATE SET
            base_files = excluded.base_files, staged_files = excluded.staged_files,
            is_changed = excluded.is_changed
        """,
        (
            proposal_id,
            part.partition.isoformat(),
            list(part.base_files),
            list(part.staged_files),
            part.is_changed,
        ),
    )


def drop_part(conn: Connection, proposal_id: str, partition: date) -> None:
    """Take a partition out of a proposal."""
    conn.execute(
        "DELETE FROM lake_proposal_parts WHERE proposal_id = %s AND partition_key = %s",
        (proposal_id, partition.isoformat()),
    )


def parts_of(conn: Connection, proposal_id: str) -> list[Part]:
    """Return the staged partitions of a proposal, oldest first."""
    rows = conn.execute(
        "SELECT partition_key, base_files, staged_files, is_changed FROM lake_proposal_parts"
        " WHERE proposal_id = %s ORDER BY partition_key",
        (proposal_id,),
    ).fetchall()
    return [
        Part(date.fromisoformat(key), tuple(base), tuple(staged), is_changed)
        for key, base, staged, is_changed in rows
    ]


def report_proposal(
    conn: Connection, proposal_id: str, report: Mapping[str, Any], *, now: datetime
) -> None:
    """Keep what a finished proposal would change; from now on it can be published."""
    building: tuple[State, ...] = ("BUILDING",)
    move_proposal(conn, proposal_id, building, "READY", now=now)
    conn.execute(
        "UPDATE lake_proposals SET report = %s WHERE proposal_id = %s",
        (Jsonb(report), proposal_id),
    )


def move_proposal(
    conn: Connection,
    proposal_id: str,
    states: Collection[State],
    state: State,
    *,
    now: datetime,
) -> None:
    """Take a proposal from one of `states` to another; PermanentError if it is in none of them."""
    require_state(conn, proposal_id, states)
    conn.execute(
        "UPDATE lake_proposals SET state = %s, changed_at = %s WHERE proposal_id = %s",
        (state, now, proposal_id),
    )
    if state not in PENDING:
        conn.execute("DELETE FROM lake_proposal_parts WHERE proposal_id = %s", (proposal_id,))


def require_state(conn: Connection, proposal_id: str, states: Collection[State]) -> None:
    """Hold a proposal's row; PermanentError unless it is in one of these states."""
    row = conn.execute(
        "SELECT state FROM lake_proposals WHERE proposal_id = %s FOR UPDATE", (proposal_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"There is no proposal {proposal_id!r}; list them to see which are.")
    if row[0] not in states:
        raise PermanentError(f"The proposal {proposal_id} is {_STATES[row[0]]}.")


def find_proposal(conn: Connection, pipeline: str, proposal_id: str) -> Proposal:
    """Return one proposal; NotFoundError if the pipeline has none of that id."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM lake_proposals WHERE pipeline = %s AND proposal_id = %s".encode(),
        (pipeline, proposal_id),
    ).fetchone()
    if row is None:
        raise NotFoundError(f"There is no proposal {proposal_id!r}; list them to see which are.")
    return Proposal(*row)


def list_proposals(conn: Connection, pipeline: str, limit: int) -> list[Proposal]:
    """Return the latest proposals of a pipeline, newest first."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM lake_proposals WHERE pipeline = %s"
        " ORDER BY created_at DESC, proposal_id LIMIT %s".encode(),
        (pipeline, limit),
    ).fetchall()
    return [Proposal(*row) for row in rows]


def needed_runs(conn: Connection, pipeline: str, since: datetime) -> set[str]:
    """Return the run ids whose staged files proposals need: pending, and touched since then."""
    rows = conn.execute(
        "SELECT proposal_id FROM lake_proposals"
        " WHERE pipeline = %s AND state = ANY(%s) AND changed_at >= %s",
        (pipeline, list(PENDING), since),
    ).fetchall()
    return {proposal_id for (proposal_id,) in rows}


def abandon_proposals(
    conn: Connection, pipeline: str, *, before: datetime, now: datetime
) -> list[str]:
    """Give up pending proposals that nobody touched since `before`; return their ids."""
    rows = conn.execute(
        "UPDATE lake_proposals SET state = 'ABANDONED', changed_at = %s"
        " WHERE pipeline = %s AND state = ANY(%s) AND changed_at < %s RETURNING proposal_id",
        (now, pipeline, list(PENDING), before),
    ).fetchall()
    ids = sorted(proposal_id for (proposal_id,) in rows)
    conn.execute("DELETE FROM lake_proposal_parts WHERE proposal_id = ANY(%s)", (ids,))
    return ids


_STATES: Mapping[State, str] = {
    "BUILDING": "not finished: wait for it, or throw it away and propose again",
    "READY": "ready, neither published nor thrown away",
    "PUBLISHING": "half published: publish it again, which goes on where it was stopped",
    "PUBLISHED": "published",
    "DISCARDED": "thrown away; propose again",
    "ABANDONED": "given up, because nobody decided on it in time; propose again",
}
assert set(_STATES) == set(get_args(State))  # noqa: S101 -- a state without words is a mistake
