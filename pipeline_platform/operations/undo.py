"""One run taken back as a whole: lake, PostgreSQL, position and landing folder together (B-5).

A plan is made, shown, and written down before anything of it is done. Every step of it can be
repeated, so an undo that is killed is finished by the same command. It is refused, with the run
that must be undone first, when a later run built on what this one published.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, TypeAlias

from pipeline_platform.failures import ConflictError, NotFoundError, PermanentError
from pipeline_platform.ingestion.files import ingest_lock
from pipeline_platform.ingestion.undoing import (
    BackTo,
    TakenFile,
    files_taken,
    move_back,
    positions_before,
    record_taken_back,
    require_readable_again,
    stream_positions,
    take_rows_out,
)
from pipeline_platform.lake.lineage import Commit, commits_to, inputs_of
from pipeline_platform.lake.publications import RUN_ID, STANDS_FOR, UNDOES
from pipeline_platform.lake.reversion import (
    ALL,
    Reversion,
    is_undone,
    later_commits,
    require_revertible,
    reversion_of,
    revert,
)
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.services import Services
from pipeline_platform.streams.batch_files import batch_folder
from pipeline_platform.streams.reading import Positions
from pipeline_platform.warehouse.locks import session_locks
from pipeline_platform.warehouse.stops import stop_of
from pipeline_platform.warehouse.undoing import take_refinement_back
from pipeline_platform.warehouse.undone_runs import (
    begin_undo,
    end_undo,
    give_up_undo,
    undone_ids,
    undone_run,
)

AssetKey: TypeAlias = tuple[str, ...]
Downstream: TypeAlias = Callable[[AssetKey, Collection[str]], Mapping[AssetKey, Collection[str]]]
"""Which partitions of which assets are made from partitions of one, however far away."""
Reload: TypeAlias = Callable[[Sequence[str]], None]
"""Loads partitions of the serving tables again from gold."""


@dataclass(frozen=True)
class Blocker:
    """A later run that built on what is to be undone; it must be undone first."""

    run_id: str
    table: str
    partitions: tuple[str, ...]
    at: datetime


@dataclass(frozen=True)
class UndoPlan:
    """All that an undo does, and what forbids it.

    `files` were taken in by the run, `positions` are where its streams go back to, `reversions`
    the partitions of silver and gold that go back, and `served` the partitions to load again.
    """

    run_id: str
    pipeline: str
    back_to: BackTo
    since: datetime
    files: tuple[TakenFile, ...]
    positions: Mapping[str, Positions]
    reversions: tuple[Reversion, ...]
    served: tuple[str, ...]
    blockers: tuple[Blocker, ...] = ()

    @property
    def refined(self) -> tuple[str, ...]:
        """The partitions of silver that go back; they wait again."""
        return _keys(self.reversions, "silver")

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it; tables by their asset key."""
        return {
            "back_to": self.back_to,
            "since": self.since.isoformat(),
            "files": [
                {**asdict(one), "arrived_at": one.arrived_at.isoformat()} for one in self.files
            ],
            "positions": {stream: dict(one) for stream, one in self.positions.items()},
            "reversions": [one.document() for one in self.reversions],
            "served": list(self.served),
        }

    @classmethod
    def of(
        cls, run_id: str, pipeline: str, document: Mapping[str, Any], tables: Sequence[LakeTable]
    ) -> "UndoPlan":
        """Read a plan that was written down."""
        known = {one.asset_key: one for one in tables}
        return cls(
            run_id,
            pipeline,
            document["back_to"],
            datetime.fromisoformat(document["since"]),
            tuple(
                TakenFile(
                    **{
                        **one,
                        "partitions": tuple(one["partitions"]),
                        "arrived_at": datetime.fromisoformat(one["arrived_at"]),
                    }
                )
                for one in document["files"]
            ),
            document["positions"],
            tuple(Reversion.of(one, known) for one in document["reversions"]),
            tuple(document["served"]),
        )


@dataclass(frozen=True)
class Undoing:
    """One undo with what it needs; `run_id` is its own, `tables` are the pipeline's.

    `reload` is None for a pipeline that serves nothing.
    """

    services: Services
    pipeline: str
    tables: Sequence[LakeTable]
    downstream: Downstream
    run_id: str
    now: datetime
    reload: Reload | None = None

    @property
    def _bronze(self) -> LakeTable | None:
        return next((one for one in self.tables if one.layer == "bronze"), None)

    def plan(self, undone: str, back_to: BackTo) -> UndoPlan:
        """Return the plan that was begun, or a new one; nothing is changed.

        Raises NotFoundError for a run that changed nothing of the pipeline, and PermanentError
        for what can't be undone: see `docs/operating.md`.
        """
        with self.services.database.connection() as connection:
            begun = undone_run(connection, undone)
            taken = tuple(files_taken(connection, self.pipeline, undone))
            undone_before = undone_ids(connection, self.pipeline)
        if begun is not None and begun.done_at is not None:
            raise PermanentError(f"Run {undone} was undone at {begun.done_at:%Y-%m-%d %H:%M} UTC.")
        if begun is not None:
            return UndoPlan.of(undone, self.pipeline, begun.plan, self.tables)
        commits = self._commits_since(undone)
        own = {
            key: mine
            for key, found in commits.items()
            if (mine := [one for one in found if one.run_id == undone])
        }
        bronze = self._bronze
        read = own.pop(bronze.asset_key, []) if bronze is not None else []
        if not own and not read and not (taken and back_to == "source"):
            raise NotFoundError(
                f"Run {undone} published nothing of {self.pipeline} that is remembered, so there "
                "is nothing to undo; `run show` tells what it did."
            )
        reversions = tuple(
            reversion_of(mine, commits[key][-1].publication.snapshot_id)
            for key, mine in own.items()
            if any(one.changes for one in mine)
        )
        plan = UndoPlan(
            undone,
            self.pipeline,
            back_to,
            min((one.publication.committed_at for one in self._all(own, read)), default=self.now),
            taken if read or back_to == "source" else (),
            self._positions(bronze, read) if bronze and back_to == "source" else {},
            reversions,
            _keys(reversions, "gold") if self.reload is not None else (),
        )
        if bronze is not None and read:
            self._refuse_anew(bronze, read, plan)
        self._require_streams(plan)
        blockers = self._blockers(commits, own, read, plan, undone_before)
        return replace(plan, blockers=tuple(blockers))

    def _commits_since(self, undone: str) -> dict[AssetKey, list[Commit]]:
        """Return the commits to each table since the first one of the run."""
        lake = self.services.lake
        begins = [
            one.committed_at
            for table in self.tables
            for one in lake.snapshots(table)
            if one.properties.get(RUN_ID) == undone and STANDS_FOR not in one.properties
        ]
        if not begins:
            return {}
        return {one.asset_key: commits_to(lake, one, since=min(begins)) for one in self.tables}

    @staticmethod
    def _all(own: Mapping[AssetKey, list[Commit]], read: Sequence[Commit]) -> list[Commit]:
        return [*read, *(one for found in own.values() for one in found)]

    def _positions(self, bronze: LakeTable, read: Sequence[Commit]) -> Mapping[str, Positions]:
        if not any(stream_positions(one.publication) for one in read):
            return {}
        lake = self.services.lake
        return positions_before(
            lake.snapshots(bronze),
            {one.publication.snapshot_id for one in read},
            bronze,
            is_whole=lake.iceberg(bronze).snapshots()[0].parent_snapshot_id is None,
        )

    def _refuse_anew(self, bronze: LakeTable, read: Sequence[Commit], plan: UndoPlan) -> None:
        """Raise PermanentError for a run that read files which were published before it."""
        shas = sorted({sha for one in read for sha in inputs_of(one.publication.properties).files})
        before = read[0].parent_id
        months = [date.fromisoformat(key) for one in plan.files for key in one.partitions]
        if before is None or not shas or not months:
            return
        span = (min(months), max(months))
        with self.services.connect() as engine:
            rows = self.services.lake.relation(engine, bronze, months=span, snapshot_id=before)
            names = ", ".join(f"'{sha}'" for sha in shas)
            known = rows.filter(f"file_sha256 IN ({names})").aggregate("min(file_sha256)")
            (found,) = known.fetchone() or (None,)
        if found is not None:
            raise PermanentError(
                f"Run {plan.run_id} read files anew that were published before it (such as "
                f"{found[:12]}), so it can't be undone; mend the mapping and use "
                f"`landing reread {found[:12]}`, or `landing withdraw {found[:12]}`."
            )

    def _require_streams(self, plan: UndoPlan) -> None:
        for stream in plan.positions:
            mine = [
                one.arrived_at for one in plan.files if one.name.startswith(batch_folder(stream))
            ]
            if mine:
                with self.services.database.connection() as connection:
                    require_readable_again(connection, self.pipeline, stream, min(mine), self.now)

    def _blockers(
        self,
        commits: Mapping[AssetKey, list[Commit]],
        own: Mapping[AssetKey, list[Commit]],
        read: Sequence[Commit],
        plan: UndoPlan,
        undone: Collection[str],
    ) -> Iterator[Blocker]:
        """Yield later runs that published the same partitions, or others made from them."""
        found: dict[tuple[str, str], Blocker] = {}
        for key, mine in own.items():
            for one, shared in later_commits(commits[key], plan.run_id, undone):
                _add(found, one, {str(value or ALL) for value in shared})
            keys = {str(value or ALL) for commit in mine for value in commit.changes}
            self._built_on(found, commits, key, keys, mine[0], undone)
        bronze = self._bronze
        if read and bronze is not None:
            keys = {key for one in plan.files for key in one.partitions}
            self._built_on(found, commits, bronze.asset_key, keys, read[0], undone)
            yield from self._later_readers(commits[bronze.asset_key], read, plan, undone)
        yield from found.values()

    def _built_on(
        self,
        found: dict[tuple[str, str], Blocker],
        commits: Mapping[AssetKey, list[Commit]],
        key: AssetKey,
        keys: Collection[str],
        first: Commit,
        undone: Collection[str],
    ) -> None:
        for child, affected in self.downstream(key, keys).items():
            for one in commits.get(child, []):
                is_later = one.publication.committed_at >= first.publication.committed_at
                if one.run_id != first.run_id and is_later and not is_undone(one, undone):
                    _add(found, one, set(affected))

    def _later_readers(
        self,
        commits: Sequence[Commit],
        read: Sequence[Commit],
        plan: UndoPlan,
        undone: Collection[str],
    ) -> Iterator[Blocker]:
        """Yield runs that read the same files again, or the same streams on."""
        mine = {sha for one in read for sha in inputs_of(one.publication.properties).files}
        for one in commits:
            if one.run_id == plan.run_id or is_undone(one, undone):
                continue
            is_later = one.publication.committed_at >= read[0].publication.committed_at
            shared = mine & set(inputs_of(one.publication.properties).files)
            streams = plan.positions.keys() & stream_positions(one.publication).keys()
            if is_later and (shared or streams):
                what = sorted({sha[:12] for sha in shared} | streams)
                yield _blocker(one, what)

    def apply(self, undone: str, back_to: BackTo, *, by: str, reason: str) -> UndoPlan:
        """Do what the plan says; one that was begun before is finished. Returns the plan.

        The pipeline must be stopped. Raises PermanentError if it is not, or if a later run built
        on this one; ConflictError while an ingest or another undo is at work, or if a command that
        heeds no stop (such as `restore`) published meanwhile; NotFoundError for a snapshot or file
        that is gone. With the last two the undo is given up, unless a part of it is done.
        """
        with self._alone():
            plan = self.plan(undone, back_to)
            _refuse_blocked(plan)
            database = self.services.database
            with database.transaction() as connection:
                begin_undo(
                    connection,
                    plan.run_id,
                    plan.pipeline,
                    plan.document(),
                    by=by,
                    reason=reason,
                    now=self.now,
                )
            self._take_back(plan)
            if plan.served and self.reload is not None:
                self.reload(plan.served)
            self._give_back(plan, reason)
            with database.transaction() as connection:
                if plan.refined:
                    take_refinement_back(
                        connection,
                        plan.pipeline,
                        plan.refined,
                        plan.run_id,
                        since=plan.since,
                        now=self.now,
                    )
                end_undo(connection, plan.run_id, self.now)
        return plan

    def _take_back(self, plan: UndoPlan) -> None:
        """Revert each table, once all of them can be; give the undo up if none was."""
        lake, database = self.services.lake, self.services.database
        with database.connection() as connection:
            undone = undone_ids(connection, self.pipeline)
        try:
            for one in plan.reversions:
                require_revertible(lake, one, undone)
            for one in plan.reversions:
                revert(lake, one, run_id=self.run_id, undoes=plan.run_id, undone=undone)
        except (ConflictError, NotFoundError) as error:
            done = [
                one.table.name
                for one in plan.reversions
                if any(
                    commit.properties.get(UNDOES) == plan.run_id
                    for commit in lake.snapshots(one.table)
                )
            ]
            if done:
                raise type(error)(
                    f"{error} {', '.join(done)} went back before, so the undo of {plan.run_id} is "
                    f"half done: undo or mend what is in its way, then `undo {plan.run_id} "
                    "--apply` finishes it."
                ) from error
            with database.transaction() as connection:
                give_up_undo(connection, plan.run_id)
            raise type(error)(
                f"{error} Nothing was changed and the undo is given up; `undo {plan.run_id}` says "
                "what it would do now."
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        database = self.services.database
        with database.connection() as connection:
            stopped = stop_of(connection, self.pipeline)
        if stopped is None:
            raise PermanentError(
                f"{self.pipeline} is not stopped, so what is undone might be done again at once: "
                f"`pipelines stop {self.pipeline} --reason ...`, undo, mend, `pipelines resume`."
            )
        with session_locks(database) as locks:
            locks.take(f"{self.pipeline}/undo", wait_seconds=1)
            locks.take(ingest_lock(self.pipeline), wait_seconds=5)
            yield

    def _give_back(self, plan: UndoPlan, reason: str) -> None:
        bronze = self._bronze
        if bronze is None or not (plan.files or plan.positions):
            return
        services, sentence = self.services, f"Its run {plan.run_id} was undone: {reason}"
        take_rows_out(
            services.lake,
            bronze,
            [one.sha256 for one in plan.files if not one.is_refused],
            plan.positions,
            run_id=self.run_id,
            undoes=plan.run_id,
        )
        with services.database.transaction() as connection:
            record_taken_back(
                connection, plan.pipeline, plan.files, plan.back_to, reason=sentence, now=self.now
            )
        zone = services.landing(plan.pipeline)
        move_back(services.database, zone, plan.files, plan.back_to, reason=sentence)


def _keys(reversions: Sequence[Reversion], layer: str) -> tuple[str, ...]:
    keys = {key for one in reversions if one.table.layer == layer for key in one.keys}
    return tuple(sorted(keys - {ALL}))


def _refuse_blocked(plan: UndoPlan) -> None:
    if plan.blockers:
        last = max(plan.blockers, key=lambda one: one.at)
        raise PermanentError(
            f"Run {last.run_id} built on it ({last.table}, {_few(last.partitions)}); undo "
            f"that one first: `undo {last.run_id}`. Nothing was changed."
        )


def _add(found: dict[tuple[str, str], Blocker], commit: Commit, keys: Collection[str]) -> None:
    """Note a commit as a blocker if it touched one of these partitions."""
    touched = sorted({str(value or ALL) for value in commit.changes} & set(keys))
    if touched:
        found.setdefault((commit.run_id, commit.table.name), _blocker(commit, touched))


def _blocker(commit: Commit, partitions: Sequence[str]) -> Blocker:
    return Blocker(
        commit.run_id,
        "/".join(commit.table.asset_key),
        tuple(partitions),
        commit.publication.committed_at,
    )


def _few(partitions: Sequence[str]) -> str:
    shown = ", ".join(partitions[:3])
    return shown if len(partitions) <= 3 else f"{shown} and {len(partitions) - 3} more"
