"""What a run took in, given back: rows, register, position of a stream, and the files themselves.

The order is that of a withdrawal: the rows leave bronze (with the stream's position, in one
commit), one transaction says so in the register, and only then the files move. Each step can be
repeated, so a killed one is done again.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat, zip_longest
from typing import Any, Literal

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import PermanentError
from pipeline_platform.ingestion.files import FILES_PER_COMMIT
from pipeline_platform.ingestion.intake import HOP
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import UNDOES, PropertyChange, Publication
from pipeline_platform.lake.staging import Staged
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.streams.batch_files import is_batch_name
from pipeline_platform.streams.committed import Committed, property_name
from pipeline_platform.streams.reading import Positions
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.warehouse.database import Database

POSITIONS = "stream_positions"
UNDONE = "undone"
"""The rule by which a file is held whose run was undone."""
BackTo = Literal["quarantine", "source"]


@dataclass(frozen=True)
class TakenFile:
    """A file that a run took in, or refused (`is_refused`); `arrived_at` of a stream's batch."""

    sha256: str
    name: str
    vendor: str | None
    partitions: tuple[str, ...]
    rows: int
    is_refused: bool
    arrived_at: datetime


def files_taken(conn: Connection, pipeline: str, run_id: str) -> list[TakenFile]:
    """Return the files that a run was the last to take in or to refuse, by name."""
    rows = conn.execute(
        "SELECT file_sha256, file_name, vendor, partition_keys, coalesce(records_processed, 0),"
        " status = 'QUARANTINED', arrived_at FROM etl_processing_log"
        " WHERE pipeline = %s AND run_id = %s"
        " AND status IN ('PUBLISHED', 'COMPLETED', 'QUARANTINED')"
        " ORDER BY file_name, file_sha256",
        (pipeline, run_id),
    ).fetchall()
    return [TakenFile(row[0], row[1], row[2], tuple(row[3]), *row[4:]) for row in rows]


def positions_before(
    publications: Sequence[Publication], own: Collection[int], table: LakeTable, *, is_whole: bool
) -> dict[str, Positions]:
    """Return where the streams were that a run read, before its first commit (of `own`).

    `publications` are all that the table remembers, oldest first; `is_whole` says that the first
    ever is among them. Raises PermanentError if the position is no longer remembered.
    """
    first = min(n for n, one in enumerate(publications) if one.snapshot_id in own)
    streams = {
        stream for one in publications if one.snapshot_id in own for stream in stream_positions(one)
    }
    found: dict[str, Positions] = {}
    for stream in streams:
        earlier = [
            said[stream]
            for one in publications[:first]
            if stream in (said := stream_positions(one))
        ]
        if not earlier and not is_whole:
            raise PermanentError(
                f"{table.name} no longer remembers where the stream {stream} was before this run; "
                "undo it with --back-to quarantine, which leaves the position."
            )
        found[stream] = earlier[-1] if earlier else {}
    return found


def stream_positions(publication: Publication) -> Mapping[str, Positions]:
    """Return up to where a publication holds each stream that it read."""
    said: Mapping[str, Positions] = json.loads(publication.properties.get(POSITIONS, "{}"))
    return said


def take_rows_out(
    lake: Lake,
    table: LakeTable,
    sha256s: Sequence[str],
    positions: Mapping[str, Positions],
    *,
    run_id: str,
    undoes: str,
) -> None:
    """Remove the rows of these files; a stream's position goes back in the last commit of them.

    Done before is done again without harm; a position that is already back is left.
    """
    starts = range(0, len(sha256s), FILES_PER_COMMIT)
    parts = [sha256s[start : start + FILES_PER_COMMIT] for start in starts]
    streams = [*repeat(None, len(parts) - 1), *sorted(positions)]
    for part, stream in zip_longest(parts, streams):
        shas = part or ()
        change = None if stream is None else _change(lake, table, stream, positions[stream])
        said = {} if stream is None else {POSITIONS: json.dumps({stream: dict(positions[stream])})}
        lake.publish(
            Staged(table, (), 0, run_id, f"undo of {undoes}"),
            replace=" or ".join(f"file_sha256 == '{one}'" for one in shas) or None,
            properties={
                UNDOES: undoes,
                "code_version": code_version(),
                "inputs": ",".join(shas),
                **said,
            },
            change=change,
        )


def _change(lake: Lake, table: LakeTable, stream: str, wanted: Positions) -> PropertyChange | None:
    present = Committed.parse(lake.property(table, property_name(stream)))
    return None if present.positions == wanted else present.moved_back(stream, wanted)


def record_taken_back(
    conn: Connection,
    pipeline: str,
    files: Sequence[TakenFile],
    back_to: BackTo,
    *,
    reason: str,
    now: datetime,
) -> None:
    """Make the register say so: held in quarantine, or never seen; partitions are requested."""
    for file in files:
        if back_to == "quarantine" and file.is_refused:
            continue
        names: dict[str, Any] = {"pipeline": pipeline, "sha256": file.sha256, "hop": HOP}
        of_file = "WHERE pipeline = %(pipeline)s AND file_sha256 = %(sha256)s"
        conn.execute(f"DELETE FROM conservation_ledger {of_file}".encode(), names)
        conn.execute(f"DELETE FROM quarantined_rows {of_file} AND hop = %(hop)s".encode(), names)
        if back_to == "source":
            conn.execute(f"DELETE FROM quarantined_files {of_file}".encode(), names)
            conn.execute(f"DELETE FROM etl_processing_log {of_file}".encode(), names)
        else:
            control.mark_quarantined(
                conn,
                pipeline,
                file.sha256,
                rule=UNDONE,
                reason=reason,
                now=now,
                vendor=file.vendor,
            )
    keys = {key for file in files for key in file.partitions}
    control.request_partitions(conn, pipeline, keys, now)


def move_back(
    database: Database,
    zone: LandingZone,
    files: Sequence[TakenFile],
    back_to: BackTo,
    *,
    reason: str,
) -> None:
    """Move the files: into quarantine, or to where they came from (a stream still has its own)."""
    for file in files:
        if back_to == "source" and is_batch_name(file.name):
            zone.forget(file.sha256)
        elif back_to == "source":
            zone.hand_back(file.sha256, file.name)
        elif not file.is_refused:
            location = zone.quarantine(zone.restore(file.sha256), reason)
            with database.transaction() as connection:
                control.set_location(connection, zone.pipeline, file.sha256, location)


def require_readable_again(
    conn: Connection, pipeline: str, stream: str, oldest: datetime, now: datetime
) -> None:
    """Raise PermanentError unless the stream certainly still has what arrived at an instant.

    An hour is kept in reserve for reading it.
    """
    row = conn.execute(
        "SELECT retention_hours FROM stream_reads WHERE pipeline = %s AND stream = %s"
        " AND retention_hours IS NOT NULL ORDER BY read_at DESC LIMIT 1",
        (pipeline, stream),
    ).fetchone()
    hours = row[0] if row else None
    age_hours = (now - oldest).total_seconds() / 3600
    if hours is None or age_hours > hours - 1:
        kept = "for how long is not known" if hours is None else f"for {hours} hours"
        raise PermanentError(
            f"The stream {stream} keeps records {kept}, and some of this run's are "
            f"{age_hours:.0f} hours old: they might not be read again. Undo it with "
            "--back-to quarantine, which keeps them here."
        )
