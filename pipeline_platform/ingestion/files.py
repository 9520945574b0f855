"""Landing to bronze: claim a file, read it as its pipeline does, publish, file it away.

The order is what makes a kill at any instruction harmless: the rows are published under the
file's hash (a repetition replaces them), then one database transaction records file, rejected
rows, ledger and the partitions to process, and only then the file leaves `processing/` and its new
place is recorded. What a killed run left there is taken up by the next one, and a place that it did
not come to record is looked up.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import (
    AuditFailedError,
    BadInputError,
    ConflictError,
    NotFoundError,
)
from pipeline_platform.ingestion.intake import HOP, Intake, Reading, Vendor, rule_of
from pipeline_platform.lake.publications import PropertyChange
from pipeline_platform.lake.staging import Staged
from pipeline_platform.landing.objects import ArchivedObjectError
from pipeline_platform.landing.zone import (
    ClaimedFile,
    LandingZone,
    ObjectChangedError,
    UnsafeNameError,
)
from pipeline_platform.quality.conservation import LedgerEntry, record_entries
from pipeline_platform.quality.issues import Issue, record_issue
from pipeline_platform.quality.quarantine import QuarantinedRow, QuarantinedRows, settle_rows
from pipeline_platform.streams.batch_files import is_batch_name
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.locks import named_lock, session_locks
from pipeline_platform.warehouse.stops import require_running, while_running

FILES_PER_COMMIT = 50
"""How many files share a commit: a commit costs as much as reading several small files."""
Status = Literal[
    "published", "duplicate", "quarantined", "refused", "left_waiting", "taken_by_another_run"
]


@dataclass(frozen=True)
class FileOutcome:
    """What became of one arrived file; `reason` says why it was not published."""

    name: str
    status: Status
    sha256: str | None = None
    vendor: str | None = None
    published_rows: int = 0
    quarantined_rows: int = 0
    partitions: tuple[str, ...] = ()
    reason: str | None = None
    snapshot_id: int | None = None


@dataclass(frozen=True)
class Advance:
    """What the commit of a stream's batch says beside its rows, whether it has any or not."""

    change: PropertyChange
    properties: Mapping[str, str]


@dataclass(frozen=True)
class _StagedFile:
    """A file whose rows are written but not yet published."""

    file: ClaimedFile
    vendor: Vendor
    staged: Staged
    rejected: QuarantinedRows
    ledger: tuple[LedgerEntry, ...]
    may_be_published: bool

    @property
    def partitions(self) -> tuple[str, ...]:
        """The partitions that the file's rows belong to."""
        return tuple(sorted(entry.partition_key for entry in self.ledger if entry.published))


def ingest_lock(pipeline: str) -> str:
    """Return the name of the lock that every run holds shared while it has claimed files."""
    return f"{pipeline}/ingest"


def file_lock(pipeline: str, sha256: str) -> str:
    """Return the name of the lock of one content."""
    return f"{pipeline}/file/{sha256}"


def ingest_arrivals(intake: Intake, keys: Sequence[str] | None = None) -> Iterator[FileOutcome]:
    """Take waiting files to bronze, what a killed run left first; `None` takes all that wait.

    A thread claims the next files while one is read, for a claim waits for the disk or the network.
    Yields one outcome per file as it is done. A bad file never stops the next one; only a fault
    of the platform itself is raised.
    """
    zone, database = landing_of(intake), intake.run.services.database
    require_running(database, zone.pipeline)
    yield from recover_arrivals(intake)
    with named_lock(database, ingest_lock(zone.pipeline), is_shared=True):
        waiting = [one.key for one in zone.list("incoming")] if keys is None else list(keys)
        starts = range(0, len(waiting), FILES_PER_COMMIT)
        for start in while_running(database, zone.pipeline, starts):
            keys_of_commit = waiting[start : start + FILES_PER_COMMIT]
            unclaimed: list[FileOutcome] = []
            with ThreadPoolExecutor(1, thread_name_prefix="claim") as thread:
                claims = thread.map(partial(_claim, intake, unclaimed), keys_of_commit)
                yield from ingest_files(intake, (file for file in claims if file is not None))
            yield from unclaimed


def ingest_files(
    intake: Intake,
    files: Iterable[ClaimedFile],
    *,
    again: bool = False,
    advance: Advance | None = None,
) -> Iterator[FileOutcome]:
    """Take claimed files to bronze in one commit; `again` reads published ones anew (replay).

    Each content is locked until it is filed away; `files_at_once` of the settings are read side by
    side. Of two files with the same content the second is looked at when the first is done, and is
    then known to be a duplicate. With `advance` a
    stream's positions move in the same commit; raises ConflictError if another run moved them.
    """
    services = intake.run.services
    read: dict[str, Future[_StagedFile | FileOutcome]] = {}
    repeated: list[ClaimedFile] = []
    with (
        session_locks(services.database) as locks,
        ThreadPoolExecutor(services.settings.files_at_once, thread_name_prefix="file") as threads,
    ):
        for file in files:
            if file.sha256 in read:
                repeated.append(file)
                continue
            locks.take(file_lock(intake.table.pipeline, file.sha256))
            read[file.sha256] = threads.submit(_stage_file, intake, file, again=again)
        staged = []
        for future in read.values():
            outcome = future.result()
            if isinstance(outcome, FileOutcome):
                yield outcome
            else:
                staged.append(outcome)
        yield from _publish(intake, staged, advance)
        for file in repeated:
            yield _file_known_content(intake, file)


def landing_of(intake: Intake) -> LandingZone:
    """Return the landing zone of the intake's pipeline."""
    return intake.run.services.landing(intake.table.pipeline)


def arrived_at(intake: Intake, file: ClaimedFile) -> datetime:
    """Return when this content arrived for the first time (UTC)."""
    with intake.run.services.database.connection() as connection:
        row = connection.execute(
            "SELECT arrived_at FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = %s",
            (intake.table.pipeline, file.sha256),
        ).fetchone()
    return row[0] if row else file.arrived_at


def open_batches(intake: Intake, claimed: Sequence[ClaimedFile]) -> list[ClaimedFile]:
    """Return the claimed files that are batches of a stream and were never recorded as published.

    They are their stream's: only the positions in the table say whether such a batch was
    published, or its records are going to be read again.
    """
    batches = [file for file in claimed if is_batch_name(file.name)]
    with intake.run.services.database.connection() as connection:
        rows = connection.execute(
            "SELECT file_sha256 FROM etl_processing_log"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s)"
            " AND (status NOT IN ('CLAIMED', 'FAILED') OR published_at IS NOT NULL)",
            (intake.table.pipeline, [file.sha256 for file in batches]),
        ).fetchall()
    recorded = {sha256 for (sha256,) in rows}
    return [file for file in batches if file.sha256 not in recorded]


def rejected_rows(
    intake: Intake, reading: Reading, published: int, file: ClaimedFile, vendor: Vendor
) -> Iterator[QuarantinedRow]:
    """Yield the rejected lines of a file of which so many records were written, as rows."""
    return (
        QuarantinedRow(
            pipeline=intake.table.pipeline,
            hop=HOP,
            file_sha256=file.sha256,
            file_name=file.name,
            vendor=vendor.name,
            line_number=line.line_number,
            partition_key=line.partition_key,
            rule=line.rule,
            reason=line.reason,
            column_name=line.column,
            record=line.record,
            run_id=intake.run.run_id,
        )
        for line in reading.rejected(published)
    )


def recover_arrivals(intake: Intake) -> Iterator[FileOutcome]:
    """Take up what killed runs left in `processing/`, but only while no other run is at work."""
    zone = landing_of(intake)
    try:
        with named_lock(
            intake.run.services.database, ingest_lock(zone.pipeline), wait_seconds=0.05
        ):
            left = zone.recover()
            _record_lost_locations(intake)
            batches = open_batches(intake, left)
            yield from ingest_files(intake, [file for file in left if file not in batches])
    except ConflictError:
        return


def _claim(intake: Intake, unclaimed: list[FileOutcome], key: str) -> ClaimedFile | None:
    """Claim one object of `incoming/`, or add to `unclaimed` why it could not be claimed."""
    try:
        return landing_of(intake).claim(key)
    except NotFoundError:
        reason = "It is no longer in incoming/."
        unclaimed.append(FileOutcome(key, "taken_by_another_run", reason=reason))
    except ObjectChangedError as error:
        _record_file_issue(intake, key, None, "changed_while_read", str(error), "info")
        unclaimed.append(FileOutcome(key, "left_waiting", reason=str(error)))
    except ArchivedObjectError as error:
        _record_file_issue(intake, key, None, error.rule, str(error), "warning")
        unclaimed.append(FileOutcome(key, "left_waiting", reason=str(error)))
    except UnsafeNameError as error:
        status = _put_away(intake, key, str(error))
        if status != "taken_by_another_run":
            _record_file_issue(intake, key, None, "unsafe_name", str(error), "warning")
        unclaimed.append(FileOutcome(key, status, reason=str(error)))
    return None


def _put_away(intake: Intake, key: str, reason: str) -> Status:
    """Quarantine what can't be claimed; what a key outside of the zone names is not touched."""
    try:
        landing_of(intake).quarantine_unclaimable(key, reason)
    except NotFoundError:
        return "taken_by_another_run"
    except UnsafeNameError:
        return "refused"
    return "quarantined"


def _stage_file(intake: Intake, file: ClaimedFile, *, again: bool) -> _StagedFile | FileOutcome:
    """Read a file and write its rows beside the table; or file it away if that can't be."""
    run, pipeline = intake.run, intake.table.pipeline
    with run.services.database.transaction() as connection:
        claim = control.register_claim(connection, pipeline, file, run_id=run.run_id, now=run.now())
        if claim == "DUPLICATE" and again:
            control.reopen(connection, pipeline, file.sha256, run_id=run.run_id, now=run.now())
    if claim == "DUPLICATE" and not again:
        return _file_known_content(intake, file)
    try:
        vendor = intake.vendor_of(file.name)
        with (
            landing_of(intake).local_file(file) as path,
            intake.read(file, path, arrived_at(intake, file)) as reading,
        ):
            staged = _stage(intake, file, reading)
            rejected = QuarantinedRows(
                rejected_rows(intake, reading, staged.row_count, file, vendor)
            )
            arrived = reading.arrived
    except BadInputError as error:
        return _quarantine(intake, file, error)
    return _StagedFile(
        file=file,
        vendor=vendor,
        staged=staged,
        rejected=rejected,
        ledger=_entries(intake, file, arrived, staged, rejected),
        may_be_published=claim != "NEW",
    )


def _stage(intake: Intake, file: ClaimedFile, reading: Reading) -> Staged:
    """Stage the rows; a fault that reading ends in comes out as itself, whoever pulled it."""
    try:
        return intake.run.services.lake.stage(
            intake.table, reading.rows, run_id=intake.run.run_id, partition=file.sha256[:16]
        )
    except Exception:
        if isinstance(reading.failure, BadInputError):
            raise reading.failure from None
        raise


def _entries(
    intake: Intake,
    file: ClaimedFile,
    arrived: Mapping[str, int],
    staged: Staged,
    rejected: Iterable[QuarantinedRow],
) -> tuple[LedgerEntry, ...]:
    """Account for a file: what it held, what its data files hold, what was rejected.

    Records that were counted without regard to partitions (under '') are those of the partitions
    that the reading does not name; what then remains under '' is accounted for there.
    """
    published = {str(value): count for value, count in staged.rows_by_partition.items()}
    quarantined = Counter(row.partition_key for row in rejected)
    arrived = dict(arrived)
    for key in {*published, *quarantined} - {*arrived, ""}:
        arrived[key] = published.get(key, 0) + quarantined[key]
        arrived[""] = arrived.get("", 0) - arrived[key]
    if arrived.get("", 0) < 0:
        raise AuditFailedError(
            f"More records of {file.name} were written or rejected than it holds: the reading "
            "of its source is at fault. Nothing of it was published."
        )
    return tuple(
        LedgerEntry(
            pipeline=intake.table.pipeline,
            hop=HOP,
            file_sha256=file.sha256,
            partition_key=key,
            arrived=arrived.get(key, 0),
            published=published.get(key, 0),
            quarantined=quarantined[key],
            deduplicated=0,
            held_late=0,
        )
        for key in sorted(arrived)
        if key or arrived[key] or quarantined[key]
    )


def _publish(
    intake: Intake, files: Sequence[_StagedFile], advance: Advance | None
) -> Iterator[FileOutcome]:
    """Publish staged files in one commit, record them in one transaction, then archive each.

    Only a file that an earlier run may have published needs replacing: a new one is registered
    before it is published, so nothing of it can be there.
    """
    if not files and advance is None:
        return
    run, pipeline = intake.run, intake.table.pipeline
    known = [one.file.sha256 for one in files if one.may_be_published]
    sha256s = [one.file.sha256 for one in files]
    publication = run.services.lake.publish(
        [one.staged for one in files] or Staged(intake.table, (), 0, run.run_id, "no rows"),
        replace=" or ".join(f"file_sha256 == '{sha256}'" for sha256 in known) or None,
        properties={
            "code_version": code_version(),
            "inputs": ",".join(sha256s),
            "mapping_versions": ",".join(
                sorted({f"{one.vendor.name}@{one.vendor.mapping_version[:12]}" for one in files})
            ),
            **(advance.properties if advance else {}),
        },
        change=advance.change if advance else None,
    )
    with run.services.database.transaction() as connection:
        connection.execute(
            "UPDATE quarantined_files SET state = 'REPLAYED', resolved_at = %s"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s) AND state = 'HELD'",
            (run.now(), pipeline, sha256s),
        )
        connection.execute(
            "UPDATE data_quality_issues SET resolved_at = %s WHERE pipeline = %s"
            " AND issue_type = 'file' AND file_sha256 = ANY(%s) AND resolved_at IS NULL",
            (run.now(), pipeline, sha256s),
        )
        for one in files:
            control.register_vendor(connection, one.vendor.name, one.vendor.display_name, run.now())
            control.mark_published(
                connection,
                pipeline,
                one.file.sha256,
                vendor=one.vendor.name,
                records=one.staged.row_count,
                quarantined=len(one.rejected),
                partition_keys=one.partitions,
                now=run.now(),
            )
            settle_rows(
                connection, pipeline, HOP, one.rejected, now=run.now(), files=[one.file.sha256]
            )
            record_entries(connection, one.ledger, run_id=run.run_id, now=run.now())
    for one in files:
        _record_location(intake, one.file, landing_of(intake).archive(one.file))
        yield FileOutcome(
            name=one.file.name,
            status="published",
            sha256=one.file.sha256,
            vendor=one.vendor.name,
            published_rows=one.staged.row_count,
            quarantined_rows=len(one.rejected),
            partitions=one.partitions,
            snapshot_id=publication.snapshot_id,
        )


def _file_known_content(intake: Intake, file: ClaimedFile) -> FileOutcome:
    """Finish what a killed run had recorded but not filed away; set a true duplicate aside."""
    zone = landing_of(intake)
    with intake.run.services.database.connection() as connection:
        row = connection.execute(
            "SELECT file_name, status, arrived_at, location, reason, vendor"
            " FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = %s",
            (zone.pipeline, file.sha256),
        ).fetchone()
    if row is None:
        raise NotFoundError(f"{file.name} is no longer registered; claim it again.")
    first_name, status, first_arrived_at, location, reason, vendor = row
    if location is None and status == "QUARANTINED":
        _record_location(intake, file, zone.quarantine(file, reason))
        return FileOutcome(file.name, "quarantined", file.sha256, vendor, reason=reason)
    if location is None:
        _record_location(intake, file, zone.archive(file))
        return FileOutcome(file.name, "published", file.sha256, vendor)
    reason = (
        f"{file.name} has the same content as {first_name}, which arrived "
        f"{first_arrived_at:%Y-%m-%d %H:%M} UTC and is {status}; nothing was loaded twice."
    )
    zone.quarantine(file, reason)
    _record_file_issue(intake, file.name, file.sha256, "duplicate_file", reason, "info")
    return FileOutcome(file.name, "duplicate", file.sha256, vendor, reason=reason)


def _quarantine(intake: Intake, file: ClaimedFile, error: BadInputError) -> FileOutcome:
    run, zone, rule = intake.run, landing_of(intake), rule_of(error)
    vendor = _known_vendor(intake, file.name)
    with run.services.database.transaction() as connection:
        if vendor is not None:
            control.register_vendor(connection, vendor.name, vendor.display_name, run.now())
        control.mark_quarantined(
            connection,
            zone.pipeline,
            file.sha256,
            rule=rule,
            reason=str(error),
            now=run.now(),
            vendor=vendor.name if vendor else None,
        )
        issue = _file_issue(intake, file.name, file.sha256, rule, str(error), "warning")
        record_issue(connection, issue, now=run.now())
    _record_location(intake, file, zone.quarantine(file, str(error)))
    name = vendor.name if vendor else None
    return FileOutcome(file.name, "quarantined", file.sha256, name, reason=str(error))


def _known_vendor(intake: Intake, file_name: str) -> Vendor | None:
    try:
        return intake.vendor_of(file_name)
    except BadInputError:
        return None


def _record_location(intake: Intake, file: ClaimedFile, location: str) -> None:
    with intake.run.services.database.transaction() as connection:
        control.set_location(connection, intake.table.pipeline, file.sha256, location)


def _record_lost_locations(intake: Intake) -> None:
    """Record where files are that a killed run had filed away, but not said so.

    A file that was withdrawn and is still in the archive only goes to quarantine.
    """
    zone = landing_of(intake)
    with intake.run.services.database.transaction() as connection:
        unknown = control.files_without_location(connection, zone.pipeline)
        for sha256, name, status, reason in unknown:
            found = zone.find(sha256, name) or zone.find(sha256)
            if found is None or found[0] == "processing":
                continue
            location = f"{zone.location(found[0])}/{found[1].key}"
            if status == "QUARANTINED" and found[0] == "archive":
                location = zone.quarantine(zone.restore(sha256), reason or "")
            control.set_location(connection, zone.pipeline, sha256, location)


def _record_file_issue(
    intake: Intake, name: str, sha256: str | None, rule: str, reason: str, severity: str
) -> None:
    issue = _file_issue(intake, name, sha256, rule, reason, severity)
    with intake.run.services.database.transaction() as connection:
        record_issue(connection, issue, now=intake.run.now())


def _file_issue(
    intake: Intake, name: str, sha256: str | None, rule: str, reason: str, severity: str
) -> Issue:
    return Issue(
        pipeline=intake.table.pipeline,
        severity=severity,
        issue_type="file",
        rule=rule,
        table_name=intake.table.name,
        run_id=intake.run.run_id,
        file_name=name,
        file_sha256=sha256,
        description=reason,
    )
