"""Trying again without storing anything: held files are read, months judged, as a run would (B-9).

Reading and judging are the pipeline's own; only what a run would publish goes to a temporary
folder instead.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from pipeline_platform.advisory_performance.audit import contracts, judged
from pipeline_platform.advisory_performance.delivery_errors import DeliveryError
from pipeline_platform.advisory_performance.ingestion import read_delivery, rejected_rows
from pipeline_platform.advisory_performance.months import months_in, pieces, rows_within, shifted
from pipeline_platform.advisory_performance.normalisation import Normalised, normalise
from pipeline_platform.advisory_performance.refinement import (
    StagedSilver,
    ledger_entries,
    rejected_records,
)
from pipeline_platform.advisory_performance.relations import as_view, literal
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import ACCOUNT_STATES, PIPELINE, VENDOR_ROWS
from pipeline_platform.advisory_performance.vendors import mapping_for
from pipeline_platform.failures import BadInputError
from pipeline_platform.landing.objects import DamagedObjectError, ObjectStore
from pipeline_platform.landing.zone import ClaimedFile, Folder, StoredObject
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.contracts import row_rules
from pipeline_platform.quality.quarantine import QuarantinedRow
from pipeline_platform.quality.validation import validate

NO_OBJECT = "object_missing"


@dataclass(frozen=True)
class FileTrial:
    """How a file would come out if it was read again now.

    `rule` and `reason` say why it would be refused as a whole, else both are None. `rows` is the
    Parquet file of what would be published to bronze; `published` counts it by month.
    """

    file_sha256: str
    file_name: str
    vendor: str | None = None
    rule: str | None = None
    reason: str | None = None
    published: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[QuarantinedRow, ...] = ()
    rows: Path | None = None

    @property
    def arrived(self) -> int:
        """How many records the file holds; 0 where it can't be read."""
        return sum(self.published.values()) + len(self.rejected)


@dataclass(frozen=True)
class Judgement:
    """What judging months would reject, what it would count, and what would forbid publication."""

    rejected: tuple[QuarantinedRow, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    objections: tuple[str, ...] = ()


def place_of(run: RunContext, sha256: str, name: str) -> tuple[Folder, StoredObject] | None:
    """Find a file's content, under the name it was registered with if that is there."""
    zone = run.services.landing(PIPELINE)
    return zone.find(sha256, name) or zone.find(sha256)


def try_file(run: RunContext, sha256: str, name: str, folder: Path) -> FileTrial:
    """Read a file as an ingest would; it stays where it is, its rows go to `folder`."""
    found = place_of(run, sha256, name)
    if found is None:
        reason = f"{name} is neither in archive nor in quarantine; ask for the file again."
        return FileTrial(sha256, name, rule=NO_OBJECT, reason=reason)
    file = _described(sha256, found[1])
    path, rows = folder / "delivered", folder / f"{sha256}.parquet"
    try:
        _download(run, file, found, path)
        return _read(run, file, path, rows)
    except BadInputError as error:
        rows.unlink(missing_ok=True)
        rule = error.rule if isinstance(error, DeliveryError) else "unreadable_file"
        return FileTrial(sha256, file.name, rule=rule, reason=str(error))
    finally:
        path.unlink(missing_ok=True)


def judge(run: RunContext, months: Sequence[date], trials: Sequence[FileTrial]) -> Judgement:
    """Judge consecutive months as if the tried files had been published again."""
    rejected: list[QuarantinedRow] = []
    ledger: list[LedgerEntry] = []
    objections: list[str] = []
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
            silver = _audited(run, piece, normalised)
        rejected += silver.rejected
        ledger += silver.ledger
        objections += silver.objections
    return Judgement(tuple(rejected), tuple(ledger), tuple(objections))


def _described(sha256: str, item: StoredObject) -> ClaimedFile:
    name = item.key.rpartition("/")[2]
    return ClaimedFile(name, sha256, item.size_bytes, item.modified_at, f"{sha256}/{name}")


def _download(
    run: RunContext, file: ClaimedFile, found: tuple[Folder, StoredObject], path: Path
) -> None:
    folder, item = found
    location = run.services.landing(PIPELINE).location(folder)
    store = ObjectStore.at(location, run.services.settings)
    if store.download(item.key, path) != file.sha256:
        raise DamagedObjectError(
            f"The content of {file.name!r} in {folder}/ is no longer the one that arrived; "
            "ask for the file again."
        )


def _read(run: RunContext, file: ClaimedFile, path: Path, rows: Path) -> FileTrial:
    vendor = mapping_for(file.name, run.mappings).vendor
    with (
        read_delivery(run, file, path) as delivery,
        pq.ParquetWriter(rows, VENDOR_ROWS.schema) as writer,
    ):
        for batch in delivery.batches():
            writer.write_batch(batch)
        return FileTrial(
            file_sha256=file.sha256,
            file_name=file.name,
            vendor=vendor,
            published=delivery.arrived_by_month,
            rejected=tuple(rejected_rows(delivery, file, run.run_id)),
            rows=rows,
        )


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
    counts = Counter(months_in(run.services.lake.partitions(VENDOR_ROWS)))
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


def _audited(run: RunContext, months: Sequence[date], normalised: Normalised) -> StagedSilver:
    relations = {
        "valuations": normalised.valuations,
        "external_flows": normalised.external_flows,
        "reported_returns": normalised.reported_returns,
    }
    ledger = ledger_entries(normalised)
    return StagedSilver(
        months=tuple(months),
        staged={},
        audit={
            name: validate(contracts()[name], relation, now=run.now())
            for name, relation in relations.items()
        },
        rejected=rejected_records(normalised, run.run_id),
        ledger=ledger,
        verdicts=judged(ledger, run.runbook),
        versions={},
        bronze_snapshot_id=None,
    )
