"""Landing to bronze: claim a vendor's file, read it through its mapping, publish, file it away.

The order is what makes a kill at any instruction harmless: the rows are published under the
file's hash (a repetition replaces them), then one database transaction records file, rejected
rows, ledger and the months to process, and only then the file leaves `processing/` and its new
place is recorded. What a killed run left there is taken up by the next one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline_platform.advisory_performance.deliveries import Delivery, open_delivery
from pipeline_platform.advisory_performance.delivery_errors import DeliveryError
from pipeline_platform.advisory_performance.months import partition_key
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.advisory_performance.vendors import mapping_for
from pipeline_platform.code_version import code_version
from pipeline_platform.failures import BadInputError, ConflictError, NotFoundError
from pipeline_platform.lake.staging import Staged
from pipeline_platform.landing.zone import ClaimedFile, ObjectChangedError, UnsafeNameError
from pipeline_platform.quality.conservation import LedgerEntry, record_entries
from pipeline_platform.quality.issues import Issue, record_issue
from pipeline_platform.quality.quarantine import QuarantinedRow, settle_rows
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.locks import named_lock, session_locks

HOP = "landing_to_bronze"
INGEST_LOCK = f"{PIPELINE}/ingest"
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
    months: tuple[str, ...] = ()
    reason: str | None = None
    snapshot_id: int | None = None


@dataclass(frozen=True)
class _StagedFile:
    """A file whose rows are written but not yet published."""

    file: ClaimedFile
    mapping: VendorMapping
    staged: Staged
    rejected: tuple[QuarantinedRow, ...]
    ledger: tuple[LedgerEntry, ...]
    may_be_published: bool

    @property
    def months(self) -> tuple[str, ...]:
        """The months that the file's rows belong to."""
        return tuple(sorted(entry.partition_key for entry in self.ledger if entry.published))


def ingest_arrivals(run: RunContext, keys: Sequence[str] | None = None) -> Iterator[FileOutcome]:
    """Take waiting files to bronze, what a killed run left first; `None` takes all that wait.

    Yields one outcome per file as it is done. A bad file never stops the next one; only a fault
    of the platform itself is raised.
    """
    zone = run.services.landing(PIPELINE)
    yield from _recovered(run)
    with named_lock(run.services.database, INGEST_LOCK, is_shared=True):
        waiting = [one.key for one in zone.list("incoming")] if keys is None else list(keys)
        for start in range(0, len(waiting), FILES_PER_COMMIT):
            outcomes: list[FileOutcome] = []
            claimed = [
                file
                for key in waiting[start : start + FILES_PER_COMMIT]
                if (file := _claim(run, key, outcomes)) is not None
            ]
            yield from outcomes
            yield from ingest_files(run, claimed)


def ingest_files(
    run: RunContext, files: Sequence[ClaimedFile], *, again: bool = False
) -> Iterator[FileOutcome]:
    """Take claimed files to bronze in one commit; `again` reads published ones anew (replay).

    Each content is locked until it is filed away. Of two files with the same content the second
    is looked at when the first is done, and is then known to be a duplicate.
    """
    database = run.services.database
    staged: dict[str, _StagedFile] = {}
    repeated: list[ClaimedFile] = []
    with session_locks(database) as locks:
        for file in files:
            if file.sha256 in staged:
                repeated.append(file)
                continue
            locks.take(f"{PIPELINE}/file/{file.sha256}")
            outcome = _stage_file(run, file, again=again)
            if isinstance(outcome, FileOutcome):
                yield outcome
            else:
                staged[file.sha256] = outcome
        yield from _publish(run, list(staged.values()))
        for file in repeated:
            yield _file_known_content(run, file)


def _recovered(run: RunContext) -> Iterator[FileOutcome]:
    """Take up what killed runs left in `processing/`, but only while no other run is at work."""
    try:
        with named_lock(run.services.database, INGEST_LOCK, wait_seconds=0.05):
            yield from ingest_files(run, run.services.landing(PIPELINE).recover())
    except ConflictError:
        return


def _claim(run: RunContext, key: str, outcomes: list[FileOutcome]) -> ClaimedFile | None:
    """Claim one object of `incoming/`, or add to `outcomes` why it could not be claimed."""
    zone = run.services.landing(PIPELINE)
    try:
        return zone.claim(key)
    except NotFoundError:
        reason = "It is no longer in incoming/."
        outcomes.append(FileOutcome(key, "taken_by_another_run", reason=reason))
    except ObjectChangedError as error:
        _record_file_issue(run, key, None, "changed_while_read", str(error), "info")
        outcomes.append(FileOutcome(key, "left_waiting", reason=str(error)))
    except UnsafeNameError as error:
        status = _put_away(run, key, str(error))
        if status != "taken_by_another_run":
            _record_file_issue(run, key, None, "unsafe_name", str(error), "warning")
        outcomes.append(FileOutcome(key, status, reason=str(error)))
    return None


def _put_away(run: RunContext, key: str, reason: str) -> Status:
    """Quarantine what can't be claimed; what a key outside of the zone names is not touched."""
    try:
        run.services.landing(PIPELINE).quarantine_unclaimable(key, reason)
    except NotFoundError:
        return "taken_by_another_run"
    except UnsafeNameError:
        return "refused"
    return "quarantined"


def _stage_file(run: RunContext, file: ClaimedFile, *, again: bool) -> _StagedFile | FileOutcome:
    """Read a file and write its rows beside the table; or file it away if that can't be."""
    with run.services.database.transaction() as connection:
        claim = control.register_claim(connection, PIPELINE, file, run_id=run.run_id, now=run.now())
        if claim == "DUPLICATE" and again:
            control.reopen(connection, PIPELINE, file.sha256, run_id=run.run_id, now=run.now())
            connection.execute(
                "UPDATE etl_processing_log SET location = NULL"
                " WHERE pipeline = %s AND file_sha256 = %s",
                (PIPELINE, file.sha256),
            )
    if claim == "DUPLICATE" and not again:
        return _file_known_content(run, file)
    try:
        mapping = mapping_for(file.name, run.mappings)
        with run.services.landing(PIPELINE).local_copy(file) as path:
            delivery = read_delivery(run, file, path)
            staged = _stage(run, file, delivery)
    except BadInputError as error:
        return _quarantine(run, file, error)
    by_month = _rows_by_month(run, staged)
    return _StagedFile(
        file=file,
        mapping=mapping,
        staged=staged,
        rejected=tuple(rejected_rows(delivery, file, run.run_id)),
        ledger=tuple(
            LedgerEntry(
                pipeline=PIPELINE,
                hop=HOP,
                file_sha256=file.sha256,
                partition_key=month,
                arrived=count.arrived,
                published=by_month[month],
                quarantined=count.quarantined,
                deduplicated=0,
                held_late=0,
            )
            for month, count in delivery.counts.items()
        ),
        may_be_published=claim != "NEW",
    )


def _publish(run: RunContext, files: Sequence[_StagedFile]) -> Iterator[FileOutcome]:
    """Publish staged files in one commit, record them in one transaction, then archive each.

    Only a file that an earlier run may have published needs replacing: a new one is registered
    before it is published, so nothing of it can be there.
    """
    if not files:
        return
    services = run.services
    known = [one.file.sha256 for one in files if one.may_be_published]
    publication = services.lake.publish(
        [one.staged for one in files],
        replace=" or ".join(f"file_sha256 == '{sha256}'" for sha256 in known) or None,
        properties={
            "code_version": code_version(),
            "inputs": ",".join(one.file.sha256 for one in files),
            "mapping_versions": ",".join(
                sorted({f"{one.mapping.vendor}@{one.mapping.version[:12]}" for one in files})
            ),
        },
    )
    with services.database.transaction() as connection:
        connection.execute(
            "UPDATE quarantined_files SET state = 'REPLAYED', resolved_at = %s"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s) AND state = 'HELD'",
            (run.now(), PIPELINE, [one.file.sha256 for one in files]),
        )
        connection.execute(
            "UPDATE data_quality_issues SET resolved_at = %s WHERE pipeline = %s"
            " AND issue_type = 'file' AND file_sha256 = ANY(%s) AND resolved_at IS NULL",
            (run.now(), PIPELINE, [one.file.sha256 for one in files]),
        )
        for one in files:
            control.register_vendor(
                connection, one.mapping.vendor, one.mapping.display_name, run.now()
            )
            control.mark_published(
                connection,
                PIPELINE,
                one.file.sha256,
                vendor=one.mapping.vendor,
                records=one.staged.row_count,
                quarantined=len(one.rejected),
                partition_keys=one.months,
                now=run.now(),
            )
            sha256s = [one.file.sha256]
            settle_rows(connection, PIPELINE, HOP, one.rejected, now=run.now(), files=sha256s)
            record_entries(connection, one.ledger, run_id=run.run_id, now=run.now())
    for one in files:
        _record_location(run, one.file, services.landing(PIPELINE).archive(one.file))
        yield FileOutcome(
            name=one.file.name,
            status="published",
            sha256=one.file.sha256,
            vendor=one.mapping.vendor,
            published_rows=one.staged.row_count,
            quarantined_rows=len(one.rejected),
            months=one.months,
            snapshot_id=publication.snapshot_id,
        )


def read_delivery(run: RunContext, file: ClaimedFile, path: Path) -> Delivery:
    """Open a file's content through its vendor's mapping, dated by its first arrival."""
    with run.services.database.connection() as connection:
        arrived_at = connection.execute(
            "SELECT arrived_at FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = %s",
            (PIPELINE, file.sha256),
        ).fetchone()
    return open_delivery(
        path,
        file.name,
        mapping_for(file.name, run.mappings),
        today=run.now().date(),
        received_at=arrived_at[0] if arrived_at else file.arrived_at,
        file_sha256=file.sha256,
        max_line_bytes=run.runbook.rulings.deliveries.max_line_bytes,
    )


def rejected_rows(delivery: Delivery, file: ClaimedFile, run_id: str) -> list[QuarantinedRow]:
    """Return a read delivery's rejected lines as rows for quarantine."""
    return [
        QuarantinedRow(
            pipeline=PIPELINE,
            hop=HOP,
            file_sha256=file.sha256,
            file_name=file.name,
            vendor=delivery.vendor,
            line_number=line.line_number,
            partition_key=line.partition_key,
            rule=line.rule,
            reason=line.reason,
            column_name=line.column,
            record=line.record,
            run_id=run_id,
        )
        for line in delivery.rejected
    ]


def _stage(run: RunContext, file: ClaimedFile, delivery: Delivery) -> Staged:
    """Stage the rows batch by batch, as they are read."""
    lake = run.services.lake
    with lake.stream(VENDOR_ROWS, run_id=run.run_id, partition=file.sha256[:16]) as stream:
        for batch in delivery.batches():
            stream.write(batch)
    return lake.stage_stream(stream)


def _rows_by_month(run: RunContext, staged: Staged) -> Counter[str]:
    """Count the staged rows by month, from the files themselves and not from the reader."""
    if staged.row_count == 0:
        return Counter()
    with run.services.connect() as engine:
        rows = (
            run.services.lake.staged_relation(engine, staged)
            .aggregate("as_of_month, count(*)", "as_of_month")
            .fetchall()
        )
    return Counter({partition_key(month): count for month, count in rows})


def _file_known_content(run: RunContext, file: ClaimedFile) -> FileOutcome:
    """Finish what a killed run had recorded but not filed away; set a true duplicate aside."""
    zone = run.services.landing(PIPELINE)
    with run.services.database.connection() as connection:
        row = connection.execute(
            "SELECT file_name, status, arrived_at, location, reason, vendor"
            " FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = %s",
            (PIPELINE, file.sha256),
        ).fetchone()
    if row is None:
        raise NotFoundError(f"{file.name} is no longer registered; claim it again.")
    first_name, status, arrived_at, location, reason, vendor = row
    if location is None and status == "QUARANTINED":
        _record_location(run, file, zone.quarantine(file, reason))
        return FileOutcome(file.name, "quarantined", file.sha256, vendor, reason=reason)
    if location is None:
        _record_location(run, file, zone.archive(file))
        return FileOutcome(file.name, "published", file.sha256, vendor)
    reason = (
        f"{file.name} has the same content as {first_name}, which arrived "
        f"{arrived_at:%Y-%m-%d %H:%M} UTC and is {status}; nothing was loaded twice."
    )
    zone.quarantine(file, reason)
    _record_file_issue(run, file.name, file.sha256, "duplicate_file", reason, "info")
    return FileOutcome(file.name, "duplicate", file.sha256, vendor, reason=reason)


def _quarantine(run: RunContext, file: ClaimedFile, error: BadInputError) -> FileOutcome:
    rule = error.rule if isinstance(error, DeliveryError) else "unreadable_file"
    vendor = None if rule == "unknown_vendor" else mapping_for(file.name, run.mappings).vendor
    with run.services.database.transaction() as connection:
        if vendor is not None:
            display_name = run.mappings[vendor].display_name
            control.register_vendor(connection, vendor, display_name, run.now())
        control.mark_quarantined(
            connection,
            PIPELINE,
            file.sha256,
            rule=rule,
            reason=str(error),
            now=run.now(),
            vendor=vendor,
        )
    _record_location(run, file, run.services.landing(PIPELINE).quarantine(file, str(error)))
    _record_file_issue(run, file.name, file.sha256, rule, str(error), "warning")
    return FileOutcome(file.name, "quarantined", file.sha256, vendor, reason=str(error))


def _record_location(run: RunContext, file: ClaimedFile, location: str) -> None:
    with run.services.database.transaction() as connection:
        control.set_location(connection, PIPELINE, file.sha256, location)


def _record_file_issue(
    run: RunContext, name: str, sha256: str | None, rule: str, reason: str, severity: str
) -> None:
    with run.services.database.transaction() as connection:
        record_issue(
            connection,
            Issue(
                pipeline=PIPELINE,
                severity=severity,
                issue_type="file",
                rule=rule,
                table_name="vendor_rows",
                run_id=run.run_id,
                file_name=name,
                file_sha256=sha256,
                description=reason,
            ),
            now=run.now(),
        )
