"""The guided recovery: eight steps, each remembered; a killed one goes on where it was (SA-99).

Of Dagster it knows only that somebody can end the runs that a restored database shows as running.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from pipeline_platform.failures import PermanentError, PlatformError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.recovery.afterwards import Reports, validate, write_lessons
from pipeline_platform.recovery.assessment import Damage, assess
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.backups import create_backup
from pipeline_platform.recovery.integrity import Query, compared_with
from pipeline_platform.recovery.lake_integrity import Looked, look_at_contracts, look_at_files
from pipeline_platform.recovery.landing_copies import restore_landing
from pipeline_platform.recovery.record import STEPS, Done, Recovery, Step
from pipeline_platform.recovery.redelivery import deliver_unknown, files_without_rows
from pipeline_platform.recovery.restoration import restore_database, restore_lake, target_of
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import stops
from pipeline_platform.warehouse.server_files import write_privately

Queries: TypeAlias = Callable[[Services], Mapping[str, Query]]


class Recoverer:
    """Does one step after the other.

    `end_runs` ends what a restored database shows as running. `queries` are sample queries that
    must be answered afterwards, `reports` writes what a pipeline reconciles itself into a folder
    and returns the files. `lessons` are those that somebody gives with this call.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        by: str,
        clock: Callable[[], datetime],
        end_runs: Callable[[], int],
        queries: Queries = lambda _: {},
        reports: Reports = lambda _services, _folder: [],
        lessons: Sequence[str] = (),
    ) -> None:
        self.settings = settings
        self.sets = BackupSets(settings)
        self._by = by
        self._clock = clock
        self._end_runs = end_runs
        self._queries = queries
        self._reports = reports
        self._lessons = tuple(lessons)
        self._file = settings.home / "recovery" / "recovery.json"

    def unfinished(self) -> Recovery | None:
        """Return the recovery that was begun and not ended, if there is one."""
        if not self._file.exists():
            return None
        try:
            return Recovery.model_validate_json(self._file.read_text("utf-8"))
        except ValueError:
            raise PermanentError(
                f"{self._file} can't be read; remove it to begin the recovery anew."
            ) from None

    def begin(
        self,
        reason: str,
        *,
        database: bool | None,
        lake: bool | None,
        at: datetime | None,
        backup_id: str | None,
    ) -> Recovery:
        """Begin a recovery; what is None is settled by what is broken and what there is."""
        recovery = self.draft(reason, database=database, lake=lake, at=at, backup_id=backup_id)
        self._keep(recovery)
        return recovery

    def draft(
        self,
        reason: str,
        *,
        database: bool | None,
        lake: bool | None,
        at: datetime | None,
        backup_id: str | None,
    ) -> Recovery:
        """Return a recovery that nothing remembers, for its plan."""
        return Recovery(
            began_at=self._clock(),
            by=self._by,
            reason=reason,
            database=database,
            lake=lake,
            at=at,
            database_backup=backup_id,
            lake_backup=backup_id,
        )

    def plan(self, recovery: Recovery) -> list[tuple[Step, list[str]]]:
        """Say what each step would do; nothing is changed, and no server started."""
        damage = assess(self.settings, self.sets, self._clock())
        told: dict[Step, list[str]] = {"assess": damage.in_words()}
        self._settle(recovery, damage)
        told["stop"] = ["stop all pipelines, wait for runs to end between two commits"]
        told["choose"] = self._choose(recovery)
        told["restore"] = _plan_of_restoration(recovery)
        told["verify"] = ["every table's files and rows, every contract"]
        told["resume"] = ["take up files that the database no longer knows, back up, resume"]
        told["validate"] = ["everything that `verify --after-restore` looks at; a report of it"]
        told["lessons"] = ["what happened and what was learnt, for the post-mortem"]
        return [(step, told[step]) for step in STEPS]

    def go_on(self, recovery: Recovery, until: Step | None = None) -> Iterator[Done]:
        """Do the steps that are left, up to one and never beyond it, also if it was done before.

        Each is remembered before the next begins.
        """
        work: dict[Step, Callable[[Recovery], list[str]]] = {
            "assess": self._assess,
            "stop": self._stop,
            "choose": self._choose,
            "restore": self._restore,
            "verify": self._verify,
            "resume": self._resume,
            "validate": self._validate,
            "lessons": self._write_lessons,
        }
        while (step := recovery.next_step) is not None:
            if until is not None and STEPS.index(step) > STEPS.index(until):
                return
            said = work[step](recovery)
            done = Done(step=step, at=self._clock(), said=tuple(said))
            recovery.done.append(done)
            self._keep(recovery)
            yield done
        self._file.rename(self._file.with_name(f"{recovery.began_at:%Y-%m-%dT%H-%M-%S}.json"))

    def _assess(self, recovery: Recovery) -> list[str]:
        damage = assess(self.settings, self.sets, self._clock())
        self._settle(recovery, damage)
        return damage.in_words()

    def _settle(self, recovery: Recovery, damage: Damage) -> None:
        if recovery.database is None:
            recovery.database = damage.database is not None or recovery.at is not None
        if recovery.lake is None:
            recovery.lake = bool(damage.lake) or recovery.database

    def _stop(self, recovery: Recovery) -> list[str]:
        """Stop everything where the database can hold that; a dead one starts nothing."""
        try:
            with Services(self.settings) as services, services.database.transaction() as conn:
                stops.stop(
                    conn, stops.EVERYTHING, by=self._by, reason=recovery.reason, now=self._clock()
                )
        except PlatformError as error:
            if not recovery.database:
                raise
            return [f"the database does not answer, so nothing can start ({error})"]
        return ["all pipelines are stopped; what runs ends between two commits"]

    def _choose(self, recovery: Recovery) -> list[str]:
        said = []
        if recovery.database:
            backup = self.sets.chosen(recovery.database_backup, "database", before=recovery.at)
            target = target_of(backup, recovery.at)
            recovery.database_backup = backup.id
            said.append(f"database: backup {backup.id}, up to {target}")
        if recovery.lake:
            before = recovery.at if recovery.lake_backup is None else None
            backup = self.sets.chosen(recovery.lake_backup, "lake", before=before)
            recovery.lake_backup = backup.id
            said.append(
                f"lake: backup {backup.id}, for tables of which files stay lost "
                f"(as of {backup.began_at:%Y-%m-%d %H:%M:%S} UTC)"
            )
        return said or ["no backup is needed"]

    def _restore(self, recovery: Recovery) -> list[str]:
        """Bring back the database, remember that at once, then the lake: each may fail alone."""
        if recovery.database and recovery.database_said is None:
            recovery.database_said = tuple(self._restore_database(recovery))
            self._keep(recovery)
        said = [*(recovery.database_said or ())]
        if recovery.lake:
            backup = self.sets.get(str(recovery.lake_backup))
            with Services(self.settings) as services:
                for one in restore_lake(services, self.sets, backup):
                    if one.outcome != "untouched":
                        said.append(f"lake: {'.'.join(one.identifier)} {one.outcome}")
        said += self._restore_landing()
        return said or ["nothing had to be restored"]

    def _restore_landing(self) -> list[str]:
        """Put lost files of landing zones back: those of the newest backup, which has all."""
        newest = self.sets.newest_sound("landing")
        if newest is None or newest.landing is None:
            return []
        with Services(self.settings) as services:
            back, gone = restore_landing(services, self.sets, newest.landing, self._clock())
        said = [f"landing: {len(back)} lost files were put back"] if back else []
        if gone:
            said.append(
                f"landing: {len(gone)} lost files are in no backup, because their bucket keeps "
                f"versions, and have none there either, such as {gone[0].folder}/{gone[0].name} of "
                f"{gone[0].pipeline}; ask their sender for them again"
            )
        return said

    def _restore_database(self, recovery: Recovery) -> list[str]:
        backup = self.sets.get(str(recovery.database_backup))
        restored = restore_database(
            self.settings, self.sets, backup, target_of(backup, recovery.at), by=self._by
        )
        said = [f"database: {restored.proof}"]
        if restored.holds_until is not None:
            said.append(f"database: newest change {restored.holds_until:%Y-%m-%d %H:%M:%S} UTC")
        if restored.replaced is not None:
            said.append(f"database: the old data are in {restored.replaced}")
        return said

    def _verify(self, recovery: Recovery) -> list[str]:
        """Look at everything; PermanentError when something is still not what it should be."""
        with Services(self.settings) as services:
            part = self.sets.get(str(recovery.lake_backup)).lake if recovery.lake else None
            files = look_at_files(services, part)
            if files.faults:
                contracts = Looked("contracts", 0, "rules judged", ())  # they read these files
            else:
                contracts = look_at_contracts(services, self._clock())
        faults = [*files.faults, *contracts.faults]
        if faults:
            raise PermanentError(
                f"After the restoration {len(faults)} things are wrong: {'; '.join(faults[:5])}. "
                "All pipelines stay stopped; choose another backup with --anew --backup ID."
            )
        return [
            f"{files.count} tables are whole, {contracts.count} rules of the contracts are kept"
        ]

    def _resume(self, recovery: Recovery) -> list[str]:
        said = []
        if recovery.database:
            said.append(f"{self._end_runs()} runs were shown as running and are ended")
        with Services(self.settings) as services:
            for pipeline in runbooks():
                taken = deliver_unknown(services, pipeline)
                if taken:
                    said.append(
                        f"{pipeline}: {len(taken)} archived files that the database no longer knew "
                        "are delivered again"
                    )
                missing = files_without_rows(services, pipeline)
                if missing:
                    said.append(
                        f"{pipeline}: {len(missing)} published files have no rows in bronze; read "
                        f"them again: pipeline-platform landing reread {missing[0][:12]} "
                        f"--pipeline {pipeline}"
                        + "".join(f", then {one[:12]}" for one in missing[1:20])
                    )
            backup = create_backup(services, reason="after a recovery", clock=self._clock)
            said.append(f"backup {backup.id} was made")
            with services.database.transaction() as connection:
                stops.resume(
                    connection, stops.EVERYTHING, by=self._by, reason=recovery.reason,
                    now=self._clock(),
                )  # fmt: skip
        return [
            *said,
            "pipelines go on; see that records come in: pipeline-platform pipelines resume "
            "--first-records-within 20m; write down what happened: pipeline-platform incidents",
        ]

    def _validate(self, recovery: Recovery) -> list[str]:
        backup = compared_with(self.sets, recovery.database_backup, recovery.lake_backup)
        with Services(self.settings) as services:
            return validate(
                services,
                recovery,
                self._clock(),
                backup=backup,
                queries=self._queries(services),
                reports=self._reports,
            )

    def _write_lessons(self, recovery: Recovery) -> list[str]:
        recovery.lessons = (*recovery.lessons, *self._lessons)
        with Services(self.settings) as services:
            return write_lessons(services, recovery, self._clock())

    def _keep(self, recovery: Recovery) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_privately(self._file, recovery.model_dump_json(indent=2))


def _plan_of_restoration(recovery: Recovery) -> list[str]:
    said = []
    if recovery.database_said is not None:
        said.append("nothing of the database: it was brought back already")
    elif recovery.database:
        said.append("bring the database back; its data now are kept beside it")
    if recovery.lake:
        said.append("put lost files of the lake back; rebuild tables that are still not whole")
    return said or ["nothing is broken, so nothing (--database or --lake does it anyway)"]
