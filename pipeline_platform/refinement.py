"""Bronze to silver, the part that all pipelines share: account, audit, publish, record.

A pipeline computes candidates and stages them; what is asked of the register before bronze is read
(`before_reading`), how the candidates are judged (`audited`) and how they become visible
(`publish_silver`) is the same everywhere. Staging and publishing are two steps, so that the caller
can report the audit before anything becomes visible.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import AuditFailedError
from pipeline_platform.ingestion.intake import HOP as LANDING_HOP
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.staging import Staged
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import partition_key, range_filter, span_of
from pipeline_platform.quality.audit import Judged, judged, objections_to
from pipeline_platform.quality.conservation import Connection, LedgerEntry, record_entries
from pipeline_platform.quality.conservation import ledger as ledger_of
from pipeline_platform.quality.contracts import ExpectationResult
from pipeline_platform.quality.issues import (
    Issue,
    contract_issue,
    record_issues,
    threshold_issue,
)
from pipeline_platform.quality.observations import record_verdicts
from pipeline_platform.quality.quarantine import QuarantinedRows, settle_rows
from pipeline_platform.run_context import RunContext
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.database import Database
from pipeline_platform.warehouse.locks import session_locks
from pipeline_platform.warehouse.progress import (
    layer_versions,
    record_versions,
    requested_versions,
)

HOP = "bronze_to_silver"
LAYER = "silver"
SECONDS_FOR_ANOTHER_RUN = 600


@dataclass(frozen=True)
class BeforeReading:
    """What the register said before bronze was read: requests, files at rest, their ledger."""

    keys: tuple[str, ...]
    versions: Mapping[str, int]
    settled: frozenset[tuple[str, datetime]]
    landed: Sequence[LedgerEntry]
    bronze: LakeTable
    bronze_snapshot_id: int | None


@dataclass(frozen=True)
class StagedSilver:
    """Candidates for silver of consecutive partitions, audited but not yet visible.

    `outdated` are other partitions that these candidates make wrong, to be worked on again.
    """

    partitions: tuple[date, ...]
    before: BeforeReading
    staged: Mapping[str, Staged]
    audit: Mapping[str, Sequence[ExpectationResult]]
    ledger: Sequence[LedgerEntry]
    landed: Sequence[LedgerEntry]
    verdicts: Sequence[Judged]
    rejected: QuarantinedRows | tuple[()] = ()
    outdated: Sequence[date] = field(default=())

    @property
    def counts(self) -> Mapping[str, int]:
        """How many rows each table gets."""
        return {name: one.row_count for name, one in self.staged.items()}

    @property
    def objections(self) -> list[str]:
        """What forbids publication, one sentence each."""
        return objections_to(self.audit, self.verdicts)


@contextmanager
def partitions_locked(run: RunContext, partitions: Sequence[date]) -> Iterator[None]:
    """Hold partitions of silver for one run, from reading bronze to publishing.

    Two runs over the same partitions follow each other, so that none publishes what it read before
    the other one's newer rows; runs over different partitions go on side by side. Raises
    ConflictError after ten minutes; a killed process holds nothing.
    """
    with session_locks(run.services.database) as locks:
        for partition in sorted(partitions):
            name = f"{run.runbook.pipeline}/{LAYER}/{partition_key(partition)}"
            locks.take(name, wait_seconds=SECONDS_FOR_ANOTHER_RUN)
        yield


def before_reading(run: RunContext, bronze: LakeTable, partitions: Sequence[date]) -> BeforeReading:
    """Ask the register and the lake; call it before bronze is read.

    A request that comes in later has a newer version and stays open.
    """
    keys = tuple(partition_key(partition) for partition in partitions)
    pipeline = run.runbook.pipeline
    with run.services.database.connection() as connection:
        versions = requested_versions(connection, pipeline, keys)
        settled = _settled_files(connection, pipeline, keys)
        landed = [
            entry
            for entry in ledger_of(connection, pipeline, hop=LANDING_HOP)
            if entry.partition_key in keys
        ]
    last = run.services.lake.last_publication(bronze)
    return BeforeReading(
        keys, versions, settled, landed, bronze, last.snapshot_id if last else None
    )


def audited(
    run: RunContext,
    before: BeforeReading,
    partitions: Sequence[date],
    *,
    staged: Mapping[str, Staged],
    audit: Mapping[str, Sequence[ExpectationResult]],
    ledger: Sequence[LedgerEntry],
    rejected: QuarantinedRows | tuple[()] = (),
    outdated: Sequence[date] = (),
) -> StagedSilver:
    """Judge what was staged: only for files of which nothing changed must both hops agree."""
    with run.services.database.connection() as connection:
        now_settled = _settled_files(connection, run.runbook.pipeline, before.keys)
    unchanged = {sha256 for sha256, _ in before.settled & now_settled}
    landed = [entry for entry in before.landed if entry.file_sha256 in unchanged]
    return StagedSilver(
        partitions=tuple(partitions),
        before=before,
        staged=staged,
        audit=audit,
        ledger=ledger,
        landed=landed,
        verdicts=judged(ledger, run.runbook.blocking_thresholds, landed),
        rejected=rejected,
        outdated=outdated,
    )


def publish_silver(run: RunContext, silver: StagedSilver) -> dict[str, Publication]:
    """Publish audited candidates; raise AuditFailedError where a blocking rule is broken.

    Rejected records, ledger, requests for outdated partitions and issues are recorded in one
    transaction, and with them up to which request each partition has been answered.
    """
    if silver.objections:
        _record_audit(run, silver)
        raise AuditFailedError(
            f"Silver of {span_of(silver.partitions)} was not published: {silver.objections[0]}; "
            "the staged files are kept and listed in data_quality_issues."
        )
    before, pipeline = silver.before, run.runbook.pipeline
    publications = {
        name: run.services.lake.publish(
            staged,
            replace=range_filter(str(staged.table.partition_by), silver.partitions),
            properties={
                "code_version": code_version(),
                "inputs": f"{before.bronze.name}@{before.bronze_snapshot_id}",
            },
        )
        for name, staged in silver.staged.items()
    }
    with run.services.database.transaction() as connection:
        settle_rows(
            connection, pipeline, HOP, silver.rejected, now=run.now(), partitions=before.keys
        )
        record_entries(
            connection,
            silver.ledger,
            run_id=run.run_id,
            now=run.now(),
            replacing=(HOP, before.keys),
            pipeline=pipeline,
        )
        record_versions(connection, pipeline, LAYER, before.versions, run.now())
        control.request_partitions(
            connection, pipeline, map(partition_key, silver.outdated), run.now()
        )
    _record_audit(run, silver)
    return publications


def refined_versions(
    database: Database, pipeline: str, partitions: Sequence[date]
) -> dict[str, int]:
    """Return up to which request silver has published each partition; ask before reading it."""
    keys = [partition_key(partition) for partition in partitions]
    with database.connection() as connection:
        return layer_versions(connection, pipeline, LAYER, keys)


def complete_partitions(
    database: Database, pipeline: str, versions: Mapping[str, int], now: datetime
) -> list[str]:
    """Answer requests up to these versions; return the files that are complete now.

    Call it at the end of a pipeline's last layer, with what that layer's input had answered before
    it was read.
    """
    completed: list[str] = []
    with database.transaction() as connection:
        for key, version in sorted(versions.items()):
            completed += control.finish_partition(connection, pipeline, key, version, now)
    return completed


def _settled_files(
    connection: Connection, pipeline: str, keys: Sequence[str]
) -> frozenset[tuple[str, datetime]]:
    """Return the files of partitions that no run is reading (again), and when each was published.

    Asked before and after bronze is read: only for files of which nothing changed in between must
    both hops of the ledger agree.
    """
    rows = connection.execute(
        "SELECT file_sha256, published_at FROM etl_processing_log"
        " WHERE pipeline = %s AND status IN ('PUBLISHED', 'COMPLETED')"
        " AND partition_keys && %s::text[]",
        (pipeline, list(keys)),
    ).fetchall()
    return frozenset(rows)


def _record_audit(run: RunContext, silver: StagedSilver) -> None:
    pipeline, span = run.runbook.pipeline, span_of(silver.partitions)
    tables = {name: ".".join(one.table.identifier) for name, one in silver.staged.items()}
    first = next(iter(silver.staged.values())).table
    found = [
        contract_issue(
            pipeline, result, table_name=tables[name], run_id=run.run_id, partition_key=span
        )
        for name, results in silver.audit.items()
        for result in results
    ]
    found += [
        threshold_issue(
            pipeline,
            measurement,
            verdict,
            table_name=".".join(first.identifier),
            run_id=run.run_id,
            partition_key=span,
        )
        for _, measurement, verdict in silver.verdicts
    ]
    issues = [issue for issue in found if issue is not None]
    if silver.objections:
        files = [path for staged in silver.staged.values() for path in staged.files]
        issues.append(
            Issue(
                pipeline=pipeline,
                severity="critical",
                issue_type="not_published",
                table_name=".".join(first.identifier),
                run_id=run.run_id,
                partition_key=span,
                description=f"{silver.objections[0]}; staged files: {', '.join(files)}",
            )
        )
    with run.services.database.transaction() as connection:
        record_issues(connection, issues, now=run.now())
        record_verdicts(
            connection,
            pipeline,
            [verdict for _, _, verdict in silver.verdicts],
            now=run.now(),
            asset_key="/".join(first.asset_key),
            partition_key=span,
            run_id=run.run_id,
        )
