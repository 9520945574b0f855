"""Retention: one engine for all that grows, with limits from the runbooks and `operations.yaml`.

Every place says how much it holds, since when the oldest is, what would go and why it may. Applied,
the same places forget, in bounded passes; whatever was killed is taken up by the next pass
(XC-8, X-7, SA-45). Of Dagster it knows only that somebody can name and forget old runs.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline_platform.failures import StoppedError, sentence_of
from pipeline_platform.logs import folder_of
from pipeline_platform.operations.maintenance import Maintainer, Operation, UnfinishedRuns
from pipeline_platform.operations.plan import RetentionPlan, operations_plan, runbooks
from pipeline_platform.recovery.retention import remove_old_backups
from pipeline_platform.runbook import ReportName, Runbook
from pipeline_platform.services import Services
from pipeline_platform.warehouse import retention as tables
from pipeline_platform.warehouse.locks import session_locks
from pipeline_platform.warehouse.retention import Aged
from pipeline_platform.warehouse.stops import require_running

LOCK = "retention"
LOCK_WAIT_SECONDS = 60
"""So long a pass waits for a maintenance that works on the same table."""
FILES_AT_ONCE = 500
SNAPSHOT_ROWS = ("B-13", "X-7")
_SHA256_LENGTH = 64


class Runs(Protocol):
    """Who knows Dagster's old runs and can forget them."""

    def aged(self, before: datetime) -> Aged:
        """Return how many runs there are, since when, and how many may go."""
        ...

    def forget(self, before: datetime, most: int) -> Iterator[int]:
        """Forget at most so many, in parts; yield how many each part had."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of one place: `removed` is None in a dry run, `failure` says why it stopped.

    `kept_days` is None where another rule than days decides.
    """

    place: str
    kept_days: int | None
    requirements: Sequence[str]
    held: int | None
    oldest_at: datetime | None
    going: int
    removed: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Place:
    """Something that grows: how it looks, and how it forgets what is older than an instant."""

    name: str
    kept_days: int
    requirements: Sequence[str]
    look: Callable[[datetime], Aged]
    forget: Callable[[datetime], Iterator[int]]


@dataclass(frozen=True)
class Retention:
    """One pass over every place; `runs` is None where Dagster's are not asked about."""

    services: Services
    now: datetime
    run_id: str
    runs: Runs | None
    unfinished_runs: UnfinishedRuns
    plan: RetentionPlan

    @classmethod
    def of(
        cls,
        services: Services,
        now: datetime,
        run_id: str,
        runs: Runs | None,
        unfinished_runs: UnfinishedRuns,
    ) -> "Retention":
        """Return a pass with the limits of `operations.yaml`."""
        return cls(services, now, run_id, runs, unfinished_runs, operations_plan().retention)

    def look(self) -> Iterator[Outcome]:
        """Say what each place holds and what would go, or why it can't; nothing changes."""
        for place in self.places():
            yield self._outcome(place)
        for runbook in runbooks().values():
            yield from self._maintained(runbook, dry_run=True)
        yield self._backups(dry_run=True)

    def apply(self) -> Iterator[Outcome]:
        """Let each place forget; one that fails is told, and the next one goes on."""
        with session_locks(self.services.database) as locks:
            locks.take(LOCK, wait_seconds=1)
            for place in self.places():
                yield self._applied(place)
            for runbook in runbooks().values():
                yield from self._maintained(runbook, dry_run=False)
            yield self._backups(dry_run=False)

    def places(self) -> Iterator[Place]:
        """Yield every place that days decide on."""
        for runbook in runbooks().values():
            yield self._archive(runbook)
        yield from (self._table(name) for name in self.plan.tables)
        yield from (self._pages(name) for name in self.plan.report_pages)
        yield self._log_files()
        if self.runs is not None:
            kept, runs = self.plan.dagster_runs, self.runs
            yield Place(
                "Dagster's runs and events",
                kept.kept_days,
                kept.requirements,
                runs.aged,
                lambda before: runs.forget(before, self.plan.runs_per_pass),
            )

    def _archive(self, runbook: Runbook) -> Place:
        """Return the archived files of a pipeline that nothing needs any more."""
        pipeline = runbook.pipeline

        def going(old: Iterator[str]) -> Iterator[str]:
            while part := list(islice(old, FILES_AT_ONCE)):
                with self.services.database.connection() as connection:
                    free = tables.files_to_forget(
                        connection, pipeline, [_sha256_of(key) for key in part]
                    )
                yield from (key for key in part if _sha256_of(key) in free)

        def look(before: datetime) -> Aged:
            held, oldest = 0, None

            def old() -> Iterator[str]:
                nonlocal held, oldest  # of all that streams by: an archive is listed once
                for one in self.services.landing(pipeline).archived():
                    held += 1
                    oldest = one.modified_at if oldest is None else min(oldest, one.modified_at)
                    if one.modified_at < before:
                        yield one.key

            count = sum(1 for _ in going(old()))
            return Aged(held, oldest, count)

        def forget(before: datetime) -> Iterator[int]:
            zone = self.services.landing(pipeline)
            old = (one.key for one in zone.archived() if one.modified_at < before)
            for key in list(islice(going(old), self.plan.files_per_pass)):
                zone.forget_archived(key)
                yield 1

        return Place(
            f"{pipeline}: archived files",
            runbook.rulings.archive_kept_days,
            ("X-7", "ST-88"),
            look,
            forget,
        )

    def _table(self, name: str) -> Place:
        kept = self.plan.tables[name]

        def look(before: datetime) -> Aged:
            with self.services.database.connection() as connection:
                return tables.aged_rows(connection, name, before)

        def forget(before: datetime) -> Iterator[int]:
            with self.services.database.connection() as connection:
                yield from tables.forget_rows(connection, name, before, self.plan.rows_per_pass)

        return Place(f"table {name}", kept.kept_days, kept.requirements, look, forget)

    def _pages(self, name: ReportName) -> Place:
        kept = self.plan.report_pages[name]

        def look(before: datetime) -> Aged:
            with self.services.database.connection() as connection:
                return tables.aged_pages(connection, name, before)

        def forget(before: datetime) -> Iterator[int]:
            with self.services.database.transaction() as connection:
                yield tables.forget_pages(connection, name, before)

        return Place(f"pages {name}", kept.kept_days, kept.requirements, look, forget)

    def _log_files(self) -> Place:
        """Return our log's files, one a day, of this machine."""
        folder, kept = folder_of(self.services.settings), self.plan.log_files

        def files() -> dict[Path, datetime]:
            return {
                path: datetime.fromtimestamp(path.stat().st_mtime, UTC)
                for path in sorted(folder.glob("*.jsonl"))
            }

        def look(before: datetime) -> Aged:
            ages = files().values()
            return Aged(len(ages), min(ages, default=None), sum(at < before for at in ages))

        def forget(before: datetime) -> Iterator[int]:
            for path, changed_at in files().items():
                if changed_at < before:
                    path.unlink(missing_ok=True)
                    yield 1

        return Place("log files", kept.kept_days, kept.requirements, look, forget)

    def _before(self, place: Place) -> datetime:
        return self.now - timedelta(days=place.kept_days)

    def _outcome(self, place: Place, removed: int | None = None) -> Outcome:
        found, failure = Aged(0, None, 0), None
        try:
            found = place.look(self._before(place))
        except Exception as error:  # one place must not stop the next
            failure = sentence_of(error)
        return Outcome(
            place.name,
            place.kept_days,
            place.requirements,
            found.held,
            found.oldest_at,
            found.going,
            removed,
            failure,
        )

    def _applied(self, place: Place) -> Outcome:
        removed, failure = 0, None
        try:
            for count in place.forget(self._before(place)):
                removed += count
        except Exception as error:  # one place must not stop the next
            failure = sentence_of(error)
        after = self._outcome(place, removed)
        return after if failure is None else replace(after, failure=failure)

    def _backups(self, *, dry_run: bool) -> Outcome:
        """Return what goes of backups, by their own rule: days, but always so many sound ones."""
        kept, gone, failure = operations_plan().backups, 0, None
        try:
            gone = len(remove_old_backups(self.services, now=self.now, dry_run=dry_run))
        except Exception as error:  # the outcomes of the others must be told
            failure = sentence_of(error)
        going, removed = (gone, None) if dry_run else (0, gone)
        return Outcome(
            "files of backups", kept.kept_days, ("SA-91",), None, None, going, removed, failure
        )

    def _maintained(self, runbook: Runbook, *, dry_run: bool) -> Iterator[Outcome]:
        """Yield what maintenance forgets by its own proofs: snapshots, temporary files, entries."""
        maintainer = Maintainer(
            services=self.services,
            runbook=runbook,
            run_id=self.run_id,
            unfinished_runs=self.unfinished_runs,
            clock=lambda: self.now,
            lock_wait_seconds=LOCK_WAIT_SECONDS,
        )
        try:
            if not dry_run:
                require_running(self.services.database, runbook.pipeline)
            yield from self._expired(maintainer, dry_run=dry_run)
        except StoppedError:
            return  # nothing of a stopped pipeline goes on
        except Exception as error:  # one place must not stop the next
            yield Outcome(
                f"{runbook.pipeline}: snapshots",
                runbook.maintenance.snapshots_kept_days,
                SNAPSHOT_ROWS,
                None,
                None,
                0,
                None if dry_run else 0,
                sentence_of(error),
            )
        cleaned = maintainer.clean_up(dry_run=dry_run)
        yield Outcome(
            f"{runbook.pipeline}: temporary files, resolved quarantine",
            runbook.rulings.temp_kept_days,
            ("SA-41", "SW-37", "X-7"),
            None,
            min((file.modified_at for file in cleaned.files), default=None),
            cleaned.effect.files_before if dry_run else cleaned.effect.files_after,
            None if dry_run else cleaned.effect.files_before - cleaned.effect.files_after,
            cleaned.failure,
        )

    def _expired(self, maintainer: Maintainer, *, dry_run: bool) -> Iterator[Outcome]:
        runbook, expiry = maintainer.runbook, list[Operation](["expiry"])
        known = self.services.lake.tables(runbook.pipeline)
        for one in maintainer.maintain(known, expiry, dry_run=dry_run):
            expired = _count(one.effect.proof.get("expired"))
            layer, _, name = one.table.partition("/")
            yield Outcome(
                f"{runbook.pipeline}: snapshots of {one.table}",
                runbook.maintenance.retention(layer, name).snapshots_kept_days,
                SNAPSHOT_ROWS,
                _count(one.effect.proof.get("kept")),
                None,
                expired if dry_run else 0,
                None if dry_run else expired,
                one.failure,
            )


def _count(found: object) -> int:
    return len(found) if isinstance(found, Sized) else 0


def row_of(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as people read it."""
    return {
        "place": outcome.place,
        "kept days": outcome.kept_days,
        "holds": outcome.held,
        "oldest": None if outcome.oldest_at is None else f"{outcome.oldest_at:%Y-%m-%d}",
        "would go" if outcome.removed is None else "left to go": outcome.going,
        **({} if outcome.removed is None else {"removed": outcome.removed}),
        "requirements": ", ".join(outcome.requirements),
        "what": outcome.failure,
    }


def _sha256_of(key: str) -> str:
    """Return the content hash in an archived object's key, `<2 digits>/<sha256>/<name>`."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 and len(parts[1]) == _SHA256_LENGTH else ""
