"""Maintenance of tables: compaction, statistics, expiry, orphans, temporary files, restoration.

Plan, proof, apply, record; one table after the other, each under its own lock, so that two jobs
never work on the same table and one table's failure never stops the next (X-9). Of Dagster it
knows only that somebody can name the unfinished runs.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, Protocol

from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.compaction import Compacted, compact, plan_compaction
from pipeline_platform.lake.expiry import expire, plan_expiry
from pipeline_platform.lake.orphans import (
    Doomed,
    LeftoverRetention,
    Removal,
    plan_leftovers,
    plan_orphans,
    remove_leftovers,
    remove_orphans,
)
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.progress import tracked
from pipeline_platform.quality.retention import remove_resolved
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.index_bloat import Rebuilt, rebuild_bloated
from pipeline_platform.warehouse.locks import session_locks
from pipeline_platform.warehouse.maintenance_log import Effect, record_end, record_start
from pipeline_platform.warehouse.proposals import abandon_proposals, needed_runs
from pipeline_platform.warehouse.stops import while_running

Operation = Literal["compaction", "statistics", "expiry", "orphans"]
OPERATIONS: tuple[Operation, ...] = ("compaction", "statistics", "expiry", "orphans")
"""In this order: what a compaction replaced is forgotten and removed by a later maintenance."""

LOCK_WAIT_SECONDS = 600
_FOLDERS = "temporary files"


class UnfinishedRuns(Protocol):
    """Who knows which runs have not ended; their staged files and snapshots are left alone."""

    def __call__(self) -> Collection[str]:
        """Return the ids of all runs that are queued, starting or running now."""
        ...


@dataclass(frozen=True)
class Report:
    """What one operation did, or would do, to one table."""

    table: str
    operation: str
    effect: Effect
    is_dry_run: bool
    failure: str | None = None
    files: Sequence[Doomed] = field(default_factory=tuple)


def leftovers(
    settings: Settings, runbook: Runbook, *, now: datetime, unfinished_runs: Collection[str]
) -> list[Doomed]:
    """Return the temporary and staged files that a clean-up of a pipeline removes (X-7).

    Its own go by its runbook; what belongs to no pipeline (spilled blocks, half copies) is kept as
    long as any runbook wants, so that no pipeline's shorter time decides for another.
    """
    all_of_them = [runbook, *runbooks().values()]
    return plan_leftovers(
        settings,
        runbook.pipeline,
        own=LeftoverRetention(
            timedelta(days=runbook.rulings.temp_kept_days),
            timedelta(days=runbook.maintenance.staging_kept_days),
        ),
        shared=LeftoverRetention(
            timedelta(days=max(one.rulings.temp_kept_days for one in all_of_them)),
            timedelta(days=max(one.maintenance.staging_kept_days for one in all_of_them)),
        ),
        others={one.pipeline for one in all_of_them} - {runbook.pipeline},
        now=now,
        unfinished_runs=unfinished_runs,
    )


@dataclass(frozen=True)
class Maintainer:
    """One run of maintenance with what it needs; `clock` is passed in so that tests decide."""

    services: Services
    runbook: Runbook
    run_id: str
    unfinished_runs: UnfinishedRuns
    clock: Callable[[], datetime]
    lock_wait_seconds: float = LOCK_WAIT_SECONDS

    def maintain(
        self,
        tables: Sequence[LakeTable],
        operations: Collection[Operation] = OPERATIONS,
        *,
        partitions: Collection[date] | None = None,
        dry_run: bool = False,
    ) -> Iterator[Report]:
        """Do the operations on each table, in their order; a failure is reported, not raised.

        `partitions` limits a compaction. With `dry_run` the plans are made and nothing changes.
        """
        work: dict[Operation, Callable[[LakeTable, Callable[[], None], bool], Report]] = {
            "compaction": lambda table, _, dry: self._compaction(table, partitions, dry),
            "statistics": lambda table, _, dry: self._statistics(table, dry),
            "expiry": lambda table, _, dry: self._expiry(table, dry),
            "orphans": self._orphans,
        }
        database, pipeline = self.services.database, self.runbook.pipeline
        if "orphans" in operations and not dry_run:
            with database.transaction() as connection:
                abandon_proposals(
                    connection, pipeline, before=self._proposals_kept_since, now=self.clock()
                )
        wanted = tables if dry_run else while_running(database, pipeline, tables)
        for table in tracked(wanted, "tables", len(tables)):
            if not self.services.lake.exists(table):
                continue
            for operation in OPERATIONS:
                if operation in operations:
                    yield self._guarded(table, operation, work[operation], dry_run)

    def clean_up(self, *, dry_run: bool = False) -> Report:
        """Remove the pipeline's old temporary and staged files, and its resolved rows.

        A failure is reported, not raised.
        """
        settings, now = self.services.settings, self.clock()
        try:
            with self._locked(_FOLDERS):
                plan = leftovers(
                    settings, self.runbook, now=now, unfinished_runs=self.unfinished_runs()
                )
                if dry_run:
                    return Report(_FOLDERS, "clean-up", _of_files(plan, None), True, files=plan)
                with self._recorded(_FOLDERS, "clean-up") as record:
                    done = remove_leftovers(settings, plan, unfinished_runs=self.unfinished_runs())
                    with self.services.database.connection() as connection:
                        rows = remove_resolved(
                            connection,
                            self.services.landing(self.runbook.pipeline),
                            kept_days=self.runbook.rulings.quarantine_kept_days,
                            now=now,
                        )
                    effect = _of_files(plan, done, f"; {rows} resolved quarantine entries removed")
                    record.append(effect)
                return Report(_FOLDERS, "clean-up", effect, False, files=done.removed)
        except Exception as error:  # what was done to the tables must be reported all the same
            return Report(_FOLDERS, "clean-up", Effect(), dry_run, failure=_failure(error))

    def rebuild_indexes(self, table: str, *, dry_run: bool) -> Report:
        """Rebuild the indexes of a table of PostgreSQL that are mostly air (SA-38)."""
        operation = "indexes"
        try:
            if dry_run:
                done = rebuild_bloated(self.services.database, table, dry_run=True)
                return Report(table, operation, _of_indexes([*done]), True)
            with self._recorded(table, operation) as record:
                done = rebuild_bloated(self.services.database, table, dry_run=False)
                effect = _of_indexes([*done])
                record.append(effect)
            return Report(table, operation, effect, False)
        except Exception as error:  # what was done to the other tables must be reported
            return Report(table, operation, Effect(), dry_run, failure=_failure(error))

    @contextmanager
    def locked(self, table: LakeTable) -> Iterator[Callable[[], None]]:
        """Hold a table's maintenance lock; what is yielded raises if it was lost meanwhile."""
        with self._locked(".".join(table.identifier)) as still_alone:
            yield still_alone

    @contextmanager
    def recorded(self, table: LakeTable, operation: str) -> Iterator[list[Effect]]:
        """Record an operation from its start to its end; its effect is appended to the list."""
        with self._recorded(f"{table.layer}/{table.name}", operation) as effects:
            yield effects

    def _guarded(
        self,
        table: LakeTable,
        operation: str,
        work: Callable[[LakeTable, Callable[[], None], bool], Report],
        dry_run: bool,
    ) -> Report:
        name = f"{table.layer}/{table.name}"
        try:
            if dry_run:
                return work(table, lambda: None, True)
            with self.locked(table) as still_alone, self.recorded(table, operation) as effects:
                report = work(table, still_alone, False)
                effects.append(report.effect)
                return report
        except Exception as error:  # one table's failure must not stop the next
            return Report(name, operation, Effect(), dry_run, failure=_failure(error))

    def _compaction(
        self, table: LakeTable, partitions: Collection[date] | None, dry_run: bool
    ) -> Report:
        lake, limits = self.services.lake, self.runbook.maintenance.compaction
        name = f"{table.layer}/{table.name}"
        if dry_run:
            plan = plan_compaction(lake, table, limits, partitions=partitions)
            effect = Effect(
                files_before=sum(len(one.paths) for one in plan),
                files_after=len(plan),
                bytes_before=sum(one.size_bytes for one in plan),
                bytes_after=sum(one.size_bytes for one in plan),
                message="; ".join(f"{one.partition or 'all'}: {one.reason}" for one in plan),
            )
            return Report(name, "compaction", effect, True)
        done = compact(lake, table, limits, run_id=self.run_id, partitions=partitions)
        return Report(name, "compaction", _of_compaction(done), False)

    def _statistics(self, table: LakeTable, dry_run: bool) -> Report:
        """Count different values of the current snapshot (SW-34, SW-36), unless they are known.

        Bronze is left out: nothing joins or groups by it, and its records are all different.
        """
        if table.layer == "bronze" or self.services.lake.has_statistics(table):
            message = "not needed" if table.layer == "bronze" else "up to date"
        elif dry_run:
            message = "of the current snapshot"
        else:
            message = f"of {len(self.services.lake.update_statistics(table))} columns"
        effect = Effect(message=message)
        return Report(f"{table.layer}/{table.name}", "statistics", effect, dry_run)

    def _expiry(self, table: LakeTable, dry_run: bool) -> Report:
        retention = self.runbook.maintenance.retention(table.layer, table.name)
        lake, now, unfinished = self.services.lake, self.clock(), self.unfinished_runs()
        kept_for = timedelta(days=retention.snapshots_kept_days)
        judged = plan_expiry(
            lake,
            table,
            kept_for=kept_for,
            kept_count=retention.snapshots_kept_count,
            kept_most=retention.snapshots_kept_most,
            now=now,
            unfinished_runs=unfinished,
        )
        going = [one for one in judged if one.kept_because is None]
        if not dry_run:
            going = expire(
                lake,
                table,
                run_id=self.run_id,
                kept_for=kept_for,
                kept_count=retention.snapshots_kept_count,
                kept_most=retention.snapshots_kept_most,
                now=now,
                unfinished_runs=unfinished,
            )
        effect = Effect(
            proof={
                "expired": [one.snapshot_id for one in going],
                "kept": {str(one.snapshot_id): one.kept_because for one in judged},
            },
            message=f"{len(going)} of {len(judged)} snapshots",
        )
        return Report(f"{table.layer}/{table.name}", "expiry", effect, dry_run)

    @property
    def _proposals_kept_since(self) -> datetime:
        return self.clock() - timedelta(days=self.runbook.maintenance.proposals_kept_days)

    def _needed_runs(self) -> Collection[str]:
        """Return the runs whose staged files are needed: unfinished ones, and pending proposals."""
        with self.services.database.connection() as connection:
            proposals = needed_runs(connection, self.runbook.pipeline, self._proposals_kept_since)
        return {*self.unfinished_runs(), *proposals}

    def _orphans(self, table: LakeTable, still_alone: Callable[[], None], dry_run: bool) -> Report:
        lake = self.services.lake
        plan = plan_orphans(
            lake,
            table,
            kept_for=timedelta(days=self.runbook.maintenance.orphans_kept_days),
            now=self.clock(),
            unfinished_runs=self._needed_runs(),
        )
        name = f"{table.layer}/{table.name}"
        if dry_run:
            return Report(name, "orphans", _of_files(plan, None), True, files=plan)
        done = remove_orphans(
            lake,
            table,
            plan,
            unfinished_runs=self._needed_runs,
            still_alone=still_alone,
        )
        return Report(name, "orphans", _of_files(plan, done), False, files=done.removed)

    @contextmanager
    def _locked(self, name: str) -> Iterator[Callable[[], None]]:
        lock = f"maintenance.{name}"
        with session_locks(self.services.database) as locks:
            locks.take(lock, wait_seconds=self.lock_wait_seconds)
            # The same session takes it again at once; a session that was lost raises.
            yield lambda: locks.take(lock, wait_seconds=0.1)

    @contextmanager
    def _recorded(self, name: str, operation: str) -> Iterator[list[Effect]]:
        database, effects = self.services.database, list[Effect]()
        with database.connection() as connection:
            number = record_start(connection, self.runbook.pipeline, name, operation, self.run_id)
        try:
            yield effects
        except Exception as error:
            with database.connection() as connection:
                record_end(connection, number, "FAILED", Effect(message=str(error)))
            raise
        with database.connection() as connection:
            record_end(connection, number, "DONE", effects[-1] if effects else Effect())


def _failure(error: Exception) -> str:
    is_own = isinstance(error, PlatformError)
    return str(error) if is_own else f"{type(error).__name__}: {error}"


def _of_compaction(done: Sequence[Compacted]) -> Effect:
    swapped = [one for one in done if one.skipped is None]
    skipped = [f"{one.rewrite.partition or 'all'}: {one.skipped}" for one in done if one.skipped]
    return Effect(
        files_before=sum(len(one.rewrite.paths) for one in swapped),
        files_after=sum(one.files_after for one in swapped),
        bytes_before=sum(one.rewrite.size_bytes for one in swapped),
        bytes_after=sum(one.bytes_after for one in swapped),
        proof={
            str(one.rewrite.partition or "all"): {
                "rows": one.checksum.row_count,
                "hash_sum": str(one.checksum.hash_sum),
                "hash_xor": str(one.checksum.hash_xor),
            }
            for one in swapped
            if one.checksum is not None
        },
        message="; ".join([f"{len(swapped)} partitions rewritten", *skipped]),
    )


def _of_files(plan: Sequence[Doomed], done: Removal | None, more: str = "") -> Effect:
    gone = plan if done is None else done.removed
    kept = {} if done is None else done.kept
    size = sum(one.size_bytes for one in plan)
    return Effect(
        files_before=len(plan),
        files_after=len(plan) - len(gone),
        bytes_before=size,
        bytes_after=size - sum(one.size_bytes for one in gone),
        proof={"kept": dict(kept)} if kept else {},
        message=f"{len(gone)} files" + (f", {len(kept)} kept" if kept else "") + more,
    )


def _of_indexes(done: Sequence[Rebuilt]) -> Effect:
    """Describe rebuilt indexes; those that were not rebuilt count with the size they have."""
    return Effect(
        files_before=len(done),
        files_after=sum(one.bytes_after != 0 for one in done),
        bytes_before=sum(one.bytes_before for one in done),
        bytes_after=sum(
            one.bytes_before if one.bytes_after is None else one.bytes_after for one in done
        ),
        message="; ".join(f"{one.index_name}: {one.what}" for one in done)
        or "no index is mostly air",
    )
