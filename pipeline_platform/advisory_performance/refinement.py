"""Bronze to silver: type, judge and version the rows of months, audit them, publish them.

Silver is a function of all bronze rows of a month, so a correction, a replay or a mended mapping
needs nothing but the month again. Staging and publishing are two steps, so that the caller can
report the audit before anything becomes visible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import duckdb

from pipeline_platform.advisory_performance.audit import SILVER_TABLES, contracts
from pipeline_platform.advisory_performance.normalisation import Normalised, normalise
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    PIPELINE,
    VALUATIONS,
    VENDOR_ROWS,
)
from pipeline_platform.code_version import code_version
from pipeline_platform.failures import AuditFailedError
from pipeline_platform.ingestion.intake import HOP as LANDING_HOP
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.staging import Staged
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import partition_key, range_filter, shifted, span_of
from pipeline_platform.quality.audit import judged
from pipeline_platform.quality.conservation import Connection, LedgerEntry, record_entries
from pipeline_platform.quality.conservation import ledger as ledger_of
from pipeline_platform.quality.contracts import ExpectationResult, row_rules, validate
from pipeline_platform.quality.issues import (
    Issue,
    contract_issue,
    record_issues,
    threshold_issue,
)
from pipeline_platform.quality.measurements import Measurement, Verdict
from pipeline_platform.quality.observations import record_verdicts
from pipeline_platform.quality.quarantine import QuarantinedRow, settle_rows
from pipeline_platform.quality.suites import start_import
from pipeline_platform.quality.thresholds import Threshold
from pipeline_platform.warehouse.progress import record_versions, requested_versions

HOP = "bronze_to_silver"


@dataclass(frozen=True)
class StagedSilver:
    """Candidates for silver of consecutive months, audited but not yet visible."""

    months: tuple[date, ...]
    staged: Mapping[str, Staged]
    audit: Mapping[str, Sequence[ExpectationResult]]
    rejected: Sequence[QuarantinedRow]
    ledger: Sequence[LedgerEntry]
    verdicts: Sequence[tuple[Threshold, Measurement, Verdict]]
    versions: Mapping[str, int]
    bronze_snapshot_id: int | None
    counts: Mapping[str, int] = field(default_factory=dict)
    landed: Sequence[LedgerEntry] = ()

    @property
    def objections(self) -> list[str]:
        """What forbids publication, one sentence each."""
        rules = [
            f"{result.rule} of silver.{table} failed for {result.failing_count} rows "
            f"(observed {result.observed}, allowed {result.limit})"
            for table, results in self.audit.items()
            for result in results
            if result.is_blocking and not result.passed
        ]
        return rules + [verdict.sentence for _, _, verdict in self.verdicts if verdict.is_blocking]


def judge_months(
    run: RunContext, engine: duckdb.DuckDBPyConnection, months: Sequence[date]
) -> Normalised:
    """Split the bronze rows of consecutive months into silver candidates and rejected records."""
    lake = run.services.lake
    bronze = lake.relation(engine, VENDOR_ROWS, months=(months[0], months[-1]))
    before = shifted(months[0], -1)
    owners = lake.relation(engine, ACCOUNT_STATES, months=(before, before)).project(
        "account_id, vendor"
    )
    return normalise(
        engine,
        bronze,
        run.mappings,
        row_rules={name: row_rules(contract) for name, contract in contracts().items()},
        account_owners=owners,
    )


def stage_months(run: RunContext, months: Sequence[date]) -> StagedSilver:
    """Write the silver candidates of consecutive months beside the tables and audit them."""
    services, lake = run.services, run.services.lake
    for table in (VENDOR_ROWS, ACCOUNT_STATES, *SILVER_TABLES):
        lake.ensure(table)
    keys = [partition_key(month) for month in months]
    with services.database.connection() as connection:
        versions = requested_versions(connection, PIPELINE, keys)
        settled = _settled_files(connection)
        landed = ledger_of(connection, PIPELINE, hop=LANDING_HOP)
    start_import()
    last_bronze = lake.last_publication(VENDOR_ROWS)
    with services.connect() as engine:
        normalised = judge_months(run, engine, months)
        relations = {
            "valuations": normalised.valuations,
            "external_flows": normalised.external_flows,
            "reported_returns": normalised.reported_returns,
        }
        staged = {
            table.name: lake.stage(
                table, relations[table.name], run_id=run.run_id, partition=span_of(months)
            )
            for table in SILVER_TABLES
        }
        rejected = rejected_records(normalised, run.run_id)
        ledger = [
            LedgerEntry(PIPELINE, HOP, sha256, key, arrived, published, quarantined, dropped, 0)
            for sha256, key, arrived, published, quarantined, dropped in normalised.counts.project(
                "file_sha256, partition_key, arrived, published, quarantined, deduplicated"
            ).fetchall()
        ]
        audit = {
            name: validate(contracts()[name], lake.staged_relation(engine, one), now=run.now())
            for name, one in staged.items()
        }
    with services.database.connection() as connection:
        unchanged = {sha256 for sha256, _ in settled & _settled_files(connection)}
    before_hop = [
        entry for entry in landed if entry.partition_key in keys and entry.file_sha256 in unchanged
    ]
    return StagedSilver(
        months=tuple(months),
        staged=staged,
        audit=audit,
        rejected=rejected,
        ledger=ledger,
        landed=before_hop,
        verdicts=judged(ledger, run.runbook.blocking_thresholds, before_hop),
        versions=versions,
        bronze_snapshot_id=last_bronze.snapshot_id if last_bronze else None,
        counts={name: one.row_count for name, one in staged.items()},
    )


def publish_months(run: RunContext, silver: StagedSilver) -> dict[str, Publication]:
    """Publish audited candidates; raise AuditFailedError where a blocking rule is broken.

    Rejected records, ledger and issues are recorded in one transaction, and with them up to
    which request each month has been answered.
    """
    if silver.objections:
        _record_audit(run, silver)
        raise AuditFailedError(
            f"Silver of {span_of(silver.months)} was not published: {silver.objections[0]}; the "
            "staged files are kept and listed in data_quality_issues."
        )
    publications = {
        name: run.services.lake.publish(
            staged,
            replace=months_filter(silver.months),
            properties={
                "code_version": code_version(),
                "inputs": f"vendor_rows@{silver.bronze_snapshot_id}",
            },
        )
        for name, staged in silver.staged.items()
    }
    keys = [partition_key(month) for month in silver.months]
    with run.services.database.transaction() as connection:
        settle_rows(connection, PIPELINE, HOP, silver.rejected, now=run.now(), partitions=keys)
        record_entries(
            connection,
            silver.ledger,
            run_id=run.run_id,
            now=run.now(),
            replacing=(HOP, keys),
            pipeline=PIPELINE,
        )
        record_versions(connection, PIPELINE, "silver", silver.versions, run.now())
    _record_audit(run, silver)
    return publications


def months_filter(months: Sequence[date]) -> str:
    """Return the row filter that names exactly the partitions of consecutive months."""
    return range_filter("as_of_month", months)


def rejected_records(normalised: Normalised, run_id: str) -> list[QuarantinedRow]:
    """Return the records that judging rejected as rows for quarantine."""
    columns = "file_sha256, file_name, vendor, line_number, partition_key, rule, reason, "
    columns += "column_name, record"
    return [
        QuarantinedRow(
            pipeline=PIPELINE,
            hop=HOP,
            file_sha256=sha256,
            file_name=name,
            vendor=vendor,
            line_number=line,
            partition_key=key,
            rule=rule,
            reason=reason,
            column_name=column,
            record=record,
            run_id=run_id,
        )
        for sha256, name, vendor, line, key, rule, reason, column, record in (
            normalised.rejected.project(columns).fetchall()
        )
    ]


def _settled_files(connection: Connection) -> set[tuple[str, datetime]]:
    """Return the files that no run is reading (again), each with when it was published.

    Asked before and after bronze is read: only for files of which nothing changed in between must
    both hops of the ledger agree.
    """
    rows = connection.execute(
        "SELECT file_sha256, published_at FROM etl_processing_log"
        " WHERE pipeline = %s AND status IN ('PUBLISHED', 'COMPLETED')",
        (PIPELINE,),
    ).fetchall()
    return set(rows)


def _record_audit(run: RunContext, silver: StagedSilver) -> None:
    span = span_of(silver.months)
    found = [
        contract_issue(
            PIPELINE, result, table_name=_name(table), run_id=run.run_id, partition_key=span
        )
        for table, results in silver.audit.items()
        for result in results
    ]
    found += [
        threshold_issue(
            PIPELINE,
            measurement,
            verdict,
            table_name=_name("valuations"),
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
                pipeline=PIPELINE,
                severity="critical",
                issue_type="not_published",
                table_name=_name("valuations"),
                run_id=run.run_id,
                partition_key=span,
                description=f"{silver.objections[0]}; staged files: {', '.join(files)}",
            )
        )
    with run.services.database.transaction() as connection:
        record_issues(connection, issues, now=run.now())
        record_verdicts(
            connection,
            PIPELINE,
            [verdict for _, _, verdict in silver.verdicts],
            now=run.now(),
            asset_key="/".join(VALUATIONS.asset_key),
            partition_key=span,
            run_id=run.run_id,
        )


def _name(table: str) -> str:
    declared: LakeTable = next(one for one in SILVER_TABLES if one.name == table)
    return ".".join(declared.identifier)
