"""A stream to bronze: each batch becomes files, and positions move in the commit of their rows.

A killed batch is neither lost nor doubled:
1. What is read lies in `processing/` before anything else is done with it.
2. One commit publishes its rows and moves the stream's positions, if they still are those that
   the batch was read from: of two readers one publishes, and the other one's batch never was.
3. Only then the batch is recorded and archived, as any file is.
A run begins by finishing what a killed one left. The positions name the files of the batch that
made them: such a batch was published and is recorded now. Any other one that was never recorded
was not published, and is given up: the stream gives its records again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline_platform.failures import ConflictError, NotFoundError, PlatformError
from pipeline_platform.ingestion.files import (
    Advance,
    FileOutcome,
    ingest_files,
    ingest_lock,
    landing_of,
    open_batches,
    recover_arrivals,
)
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.lake.publications import PropertyChange
from pipeline_platform.lake.staging import Staged
from pipeline_platform.landing.zone import ClaimedFile
from pipeline_platform.streams.batch_files import batch_files, batch_folder
from pipeline_platform.streams.committed import Committed, property_name
from pipeline_platform.streams.reading import Batch, Limits, StreamReader
from pipeline_platform.streams.reads import record_read
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.stops import require_running, while_running


@dataclass(frozen=True)
class BatchOutcome:
    """What became of one batch; `files` has one outcome per shard that gave records."""

    records: int
    millis_behind_latest: int
    files: tuple[FileOutcome, ...]
    retention_hours: int | None = None


def stream_lock(pipeline: str, stream: str) -> str:
    """Return the name of the lock of the one run that reads a stream."""
    return f"{pipeline}/stream/{stream}"


def consume(
    intake: Intake, reader: StreamReader, limits: Limits, *, max_batches: int
) -> Iterator[BatchOutcome]:
    """Take a stream to bronze, batch by batch, until it is caught up or `max_batches` are done.

    Yields an outcome per batch as it is published; a stream with nothing new yields nothing.
    Every attempt is remembered in `stream_reads`. Raises ConflictError if another run reads the
    stream, and what the reader raises.
    """
    database, pipeline = intake.run.services.database, intake.table.pipeline
    require_running(database, pipeline)
    with named_lock(database, stream_lock(pipeline, reader.stream), wait_seconds=1):
        list(recover_arrivals(intake))
        with named_lock(database, ingest_lock(pipeline), is_shared=True):
            for _ in while_running(database, pipeline, range(max_batches)):
                try:
                    outcome = consume_batch(intake, reader, limits)
                except PlatformError as error:
                    _remember(intake, reader, None, str(error))
                    raise
                _remember(intake, reader, outcome)
                if not outcome.records:
                    return
                yield outcome


def consume_batch(intake: Intake, reader: StreamReader, limits: Limits) -> BatchOutcome:
    """Finish what was left, then read one batch and publish it with its positions.

    The locks of `consume` spare readers the work of losing; without them the result is the same.
    Raises ConflictError, with nothing published, if another reader was faster.
    """
    stream = reader.stream
    committed = _finish(intake, stream)
    batch = reader.read_batch(committed.positions, limits)
    if batch.new_positions == committed.positions:
        return BatchOutcome(0, batch.millis_behind_latest, (), batch.retention_hours)
    placed = [
        landing_of(intake).place(one.name, one.data, one.arrived_at)
        for one in batch_files(stream, batch.records)
    ]
    change = committed.moved(stream, batch.new_positions, [file.sha256 for file in placed])
    try:
        outcomes = tuple(ingest_files(intake, placed, advance=_advance(stream, batch, change)))
    except PlatformError as error:
        present = _committed(intake, stream)
        # What another run gave up is gone, also if the positions were read just after it said so.
        if present.text == committed.text and not isinstance(error, NotFoundError):
            raise
        _give_up(intake, [file for file in placed if file.sha256 not in present.last_files])
        raise ConflictError(
            f"Another run read the stream {stream} at the same time and was faster, so this "
            "batch was given up; its records are published by the other one or read again."
        ) from error
    return BatchOutcome(
        len(batch.records), batch.millis_behind_latest, outcomes, batch.retention_hours
    )


def _committed(intake: Intake, stream: str) -> Committed:
    return Committed.parse(intake.run.services.lake.property(intake.table, property_name(stream)))


def _advance(stream: str, batch: Batch, change: PropertyChange) -> Advance:
    positions = json.dumps({stream: dict(batch.new_positions)}, sort_keys=True)
    return Advance(change, {"stream_positions": positions})


def _finish(intake: Intake, stream: str) -> Committed:
    """Record the batch that made the present positions, give up others; return the positions.

    Whoever read a batch that is given up may still be alive (its database was away, so its locks
    are gone). So the positions change first, in a commit without rows, and it can't publish.
    """
    committed = _committed(intake, stream)
    left = [
        file
        for file in open_batches(intake, landing_of(intake).claimed())
        if file.name.startswith(batch_folder(stream))
    ]
    list(ingest_files(intake, [file for file in left if file.sha256 in committed.last_files]))
    abandoned = [file for file in left if file.sha256 not in committed.last_files]
    if not abandoned:
        return committed
    run = intake.run
    run.services.lake.publish(
        Staged(intake.table, (), 0, run.run_id, "taken over"),
        replace=None,
        properties={},
        change=committed.taken_over(stream),
    )
    _give_up(intake, abandoned)
    return _committed(intake, stream)


def _give_up(intake: Intake, files: Sequence[ClaimedFile]) -> None:
    """Forget batches that were never published."""
    pipeline = intake.table.pipeline
    with intake.run.services.database.transaction() as connection:
        for file in files:
            control.forget_claim(connection, pipeline, file.sha256)
    for file in files:
        landing_of(intake).give_up(file)


def _remember(
    intake: Intake,
    reader: StreamReader,
    outcome: BatchOutcome | None,
    reason: str | None = None,
) -> None:
    """Write down how an attempt went; None = it failed."""
    run = intake.run
    with run.services.database.transaction() as connection:
        record_read(
            connection,
            intake.table.pipeline,
            reader.stream,
            "FAILED" if outcome is None else "PUBLISHED" if outcome.records else "EMPTY",
            run_id=run.run_id,
            now=run.now(),
            records=outcome.records if outcome else 0,
            quarantined=sum(file.quarantined_rows for file in outcome.files) if outcome else 0,
            millis_behind_latest=outcome.millis_behind_latest if outcome else None,
            retention_hours=outcome.retention_hours if outcome else None,
            reason=reason,
        )
