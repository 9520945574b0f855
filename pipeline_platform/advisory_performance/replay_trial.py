"""Judging months again without storing anything, with files that were read again (B-9)."""

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
from pipeline_platform.advisory_performance.relations import unique_name
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    VALUATIONS,
    VENDOR_ROWS,
)
from pipeline_platform.ingestion.trial import FileTrial
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.lake.trial_lake import TrialLake, write_rows
from pipeline_platform.partition_ranges import dates_in, pieces, shifted
from pipeline_platform.quality.audit import judged, objections_to
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.contracts import row_rules
from pipeline_platform.quality.quarantine import QuarantinedRow, without_text
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
    lake = TrialLake(run.services.lake)
    lake.deliver(
        VENDOR_ROWS,
        [trial.file_sha256 for trial in trials],
        [str(trial.rows) for trial in trials],
    )
    rejected: list[QuarantinedRow] = []
    ledger: list[LedgerEntry] = []
    objections: list[str] = []
    kept: list[KeptSilver] = []
    for piece in pieces(
        months,
        dates_in(lake.partitions(VENDOR_ROWS)),
        rows_within(run.services.settings.memory_limit),
    ):
        with run.services.connect() as engine:
            before = shifted(piece[0], -1)
            owners = lake.relation(engine, ACCOUNT_STATES, months=(before, before))
            normalised = normalise(
                engine,
                lake.relation(engine, VENDOR_ROWS, months=(piece[0], piece[-1])),
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


def _audited(run: RunContext, normalised: Normalised) -> Judgement:
    """Say what judging rejects, counts and would forbid, as an audit would."""
    ledger = ledger_entries(normalised)
    audit = {
        table.name: validate(contracts()[table.name], relation, now=run.now())
        for table, relation in _silver(normalised)
    }
    verdicts = judged(ledger, run.runbook.blocking_thresholds)
    return Judgement(
        rejected=tuple(without_text(rejected_records(normalised, run.run_id))),
        ledger=tuple(ledger),
        objections=tuple(objections_to(audit, verdicts)),
    )
