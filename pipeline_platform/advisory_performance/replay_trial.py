"""Judging months again without storing anything, with files that were read again (B-9)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from pipeline_platform.advisory_performance.audit import contracts
from pipeline_platform.advisory_performance.months import rows_within
from pipeline_platform.advisory_performance.normalisation import Normalised, normalise
from pipeline_platform.advisory_performance.refinement import (
    ledger_entries,
    rejected_records,
)
from pipeline_platform.advisory_performance.relations import as_view, literal, unique_name
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    EXTERNAL_FLOWS,
    PIPELINE,
    REPORTED_RETURNS,
    VALUATIONS,
    VENDOR_ROWS,
)
from pipeline_platform.ingestion.trial import FileTrial
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.lake.trial_lake import write_rows
from pipeline_platform.partition_ranges import dates_in, pieces, shifted
from pipeline_platform.quality.audit import judged, objections_to
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.contracts import row_rules
from pipeline_platform.quality.quarantine import QuarantinedRow
from pipeline_platform.quality.validation import validate


@dataclass(frozen=True)
class KeptSilver:
    """A file with what judging consecutive months would publish to one table."""

    table: LakeTable
    span: tuple[date, date]
    path: Path


@dataclass(frozen=True)
class Judgement:
    """What judging months would reject, what it would count, and what would forbid publication.

    `silver` is what it would publish, if it was kept.
    """

    rejected: tuple[QuarantinedRow, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    objections: tuple[str, ...] = ()
    silver: tuple[KeptSilver, ...] = ()


def judge(
    run: RunContext,
    months: Sequence[date],
    trials: Sequence[FileTrial],
    keep: Path | None = None,
) -> Judgement:
    """Judge consecutive months as if the tried files had been published again.

    What they would publish is written to the folder `keep`, if there is one.
    """
    rejected: list[QuarantinedRow] = []
    ledger: list[LedgerEntry] = []
    objections: list[str] = []
    kept: list[KeptSilver] = []
    for piece in pieces(
        months, _bronze_counts(run, trials), rows_within(run.services.settings.memory_limit)
    ):
        with run.services.connect() as engine:
            before = shifted(piece[0], -1)
            owners = run.services.lake.relation(engine, ACCOUNT_STATES, months=(before, before))
            normalised = normalise(
                engine,
                _bronze(run, engine, (piece[0], piece[-1]), trials),
                run.mappings,
                row_rules={name: row_rules(contract) for name, contract in contracts().items()},
                account_owners=owners.project("account_id, vendor"),
            )
            silver = _audited(run, normalised)
            if keep is not None:
                kept += _kept(normalised, (piece[0], piece[-1]), keep)
        rejected += silver.rejected
        ledger += silver.ledger
        objections += silver.objections
    return Judgement(tuple(rejected), tuple(ledger), tuple(objections), tuple(kept))


def _kept(normalised: Normalised, span: tuple[date, date], folder: Path) -> Iterator[KeptSilver]:
    for table, rows in _silver(normalised):
        path = folder / f"{unique_name(table.name)}.parquet"
        write_rows(table, rows, str(path))
        yield KeptSilver(table, span, path)


def _silver(normalised: Normalised) -> list[tuple[LakeTable, duckdb.DuckDBPyRelation]]:
    return [
        (VALUATIONS, normalised.valuations),
        (EXTERNAL_FLOWS, normalised.external_flows),
        (REPORTED_RETURNS, normalised.reported_returns),
    ]


def _bronze(
    run: RunContext,
    engine: duckdb.DuckDBPyConnection,
    span: tuple[date, date],
    trials: Sequence[FileTrial],
) -> duckdb.DuckDBPyRelation:
    """Return bronze with the tried files' rows in the place of what is stored of them."""
    stored = run.services.lake.relation(engine, VENDOR_ROWS, months=span)
    paths = ", ".join(literal(str(trial.rows)) for trial in trials if trial.rows is not None)
    if not paths:
        return stored
    columns = ", ".join(VENDOR_ROWS.schema.names)
    replaced = ", ".join(literal(trial.file_sha256) for trial in trials)
    return engine.sql(
        f"SELECT {columns} FROM {as_view(stored)} WHERE file_sha256 NOT IN ({replaced})"
        f" UNION ALL SELECT {columns} FROM read_parquet([{paths}])"
        f" WHERE as_of_month BETWEEN DATE '{span[0]}' AND DATE '{span[1]}'"
    )


def _bronze_counts(run: RunContext, trials: Sequence[FileTrial]) -> Counter[date]:
    """Count bronze by month as it would be; it decides where a range of months is cut."""
    counts = Counter(dates_in(run.services.lake.partitions(VENDOR_ROWS)))
    with run.services.database.connection() as connection:
        stored = connection.execute(
            "SELECT partition_key, sum(published)::bigint FROM conservation_ledger"
            " WHERE pipeline = %s AND hop = 'landing_to_bronze' AND file_sha256 = ANY(%s)"
            " AND partition_key <> '' GROUP BY partition_key",
            (PIPELINE, [trial.file_sha256 for trial in trials]),
        ).fetchall()
    counts.subtract({date.fromisoformat(key): count for key, count in stored})
    for trial in trials:
        counts.update({date.fromisoformat(key): n for key, n in trial.published.items()})
    return counts


def _audited(run: RunContext, normalised: Normalised) -> Judgement:
    """Say what judging rejects, counts and would forbid, as an audit would."""
    ledger = ledger_entries(normalised)
    audit = {
        table.name: validate(contracts()[table.name], relation, now=run.now())
        for table, relation in _silver(normalised)
    }
    verdicts = judged(ledger, run.runbook.blocking_thresholds)
    return Judgement(
        rejected=tuple(rejected_records(normalised, run.run_id)),
        ledger=tuple(ledger),
        objections=tuple(objections_to(audit, verdicts)),
    )
