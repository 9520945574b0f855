"""Bronze to silver: type, judge and version the rows of months, audit them, publish them.

Silver is a function of all bronze rows of a month, so a correction, a replay or a mended mapping
needs nothing but the month again. Staging and publishing are two steps, so that the caller can
report the audit before anything becomes visible.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

import duckdb

from pipeline_platform.advisory_performance.account_ranges import (
    ALL_ACCOUNTS,
    AccountRange,
    each_range,
)
from pipeline_platform.advisory_performance.audit import SILVER_TABLES, contracts
from pipeline_platform.advisory_performance.normalisation import Normalised, normalise
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    PIPELINE,
    VENDOR_ROWS,
)
from pipeline_platform.lake.publications import Publication
from pipeline_platform.partition_ranges import range_filter, shifted, span_of
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.contracts import row_rules
from pipeline_platform.quality.quarantine import QuarantinedRow, QuarantinedRows
from pipeline_platform.quality.validation import validate
from pipeline_platform.refinement import (
    HOP,
    StagedSilver,
    audited,
    before_reading,
    publish_silver,
)

BYTES_PER_RECORD = 3_000
"""Memory limit that one delivered record needs while it is judged beside others."""
_REJECTED_AT_ONCE = 1_000


def judge_months(
    run: RunContext,
    engine: duckdb.DuckDBPyConnection,
    months: Sequence[date],
    accounts: AccountRange = ALL_ACCOUNTS,
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
        bronze.filter(accounts.condition),
        run.mappings,
        row_rules={name: row_rules(contract) for name, contract in contracts().items()},
        account_owners=owners.filter(accounts.condition),
    )


def stage_months(run: RunContext, months: Sequence[date]) -> StagedSilver:
    """Write the silver candidates of consecutive months beside the tables and audit them."""
    services, lake = run.services, run.services.lake
    for table in (VENDOR_ROWS, ACCOUNT_STATES, *SILVER_TABLES):
        lake.ensure(table)
    before = before_reading(run, VENDOR_ROWS, months)
    rejected = QuarantinedRows()
    entries: list[LedgerEntry] = []
    with lake.streams(*SILVER_TABLES, run_id=run.run_id, partition=span_of(months)) as opened:
        streams = {stream.table.name: stream for stream in opened}
        for engine, accounts in each_range(run, VENDOR_ROWS, months, BYTES_PER_RECORD):
            normalised = judge_months(run, engine, months, accounts)
            streams["valuations"].copy(normalised.valuations)
            streams["external_flows"].copy(normalised.external_flows)
            streams["reported_returns"].copy(normalised.reported_returns)
            rejected.extend(rejected_records(normalised, run.run_id))
            entries += ledger_entries(normalised)
    staged = {name: lake.stage_stream(stream) for name, stream in streams.items()}
    with services.connect() as engine:
        audit = {
            name: validate(contracts()[name], lake.staged_relation(engine, one), now=run.now())
            for name, one in staged.items()
        }
    return audited(
        run, before, months, staged=staged, audit=audit, ledger=_added(entries), rejected=rejected
    )


def ledger_entries(normalised: Normalised) -> list[LedgerEntry]:
    """Return what one judging accounted for, by file and month."""
    columns = "file_sha256, partition_key, arrived, published, quarantined, deduplicated"
    return [
        LedgerEntry(PIPELINE, HOP, sha256, key, arrived, published, quarantined, dropped, 0)
        for sha256, key, arrived, published, quarantined, dropped in (
            normalised.counts.project(columns).fetchall()
        )
    ]


def _added(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Add up the entries of one file and month, which come from several ranges of accounts."""
    total: dict[tuple[str, str], LedgerEntry] = {}
    for one in entries:
        key = (one.file_sha256, one.partition_key)
        known = total.get(key)
        total[key] = (
            one
            if known is None
            else replace(
                one,
                arrived=known.arrived + one.arrived,
                published=known.published + one.published,
                quarantined=known.quarantined + one.quarantined,
                deduplicated=known.deduplicated + one.deduplicated,
            )
        )
    return [*total.values()]


def publish_months(run: RunContext, silver: StagedSilver) -> dict[str, Publication]:
    """Publish audited candidates; raise AuditFailedError where a blocking rule is broken."""
    return publish_silver(run, silver)


def months_filter(months: Sequence[date]) -> str:
    """Return the row filter that names exactly the partitions of consecutive months."""
    return range_filter("as_of_month", months)


def rejected_records(normalised: Normalised, run_id: str) -> Iterator[QuarantinedRow]:
    """Yield the records that judging rejected as rows for quarantine."""
    columns = "file_sha256, file_name, vendor, line_number, partition_key, rule, reason, "
    columns += "column_name, record"
    found = normalised.rejected.project(columns)
    while rows := found.fetchmany(_REJECTED_AT_ONCE):
        for sha256, name, vendor, line, key, rule, reason, column, record in rows:
            yield QuarantinedRow(
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
