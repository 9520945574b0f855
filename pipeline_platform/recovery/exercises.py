"""What else must come back besides everything: exercised in a drill's scratch place (B-11).

Each breaks one thing of a platform that was restored there, brings it back by the way that an
operator would take, and compares every row with what was there before.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Timer
from urllib.parse import unquote, urlsplit

import psycopg

from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.export import lost_files
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.reading import live_files
from pipeline_platform.lake.restoration import restore_from_snapshot
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.recovery.backup_sets import BackupSets, Part, PlatformBackup
from pipeline_platform.recovery.restoration import restore_lake
from pipeline_platform.services import Services

RUN_ID = "drill"
FAILOVER = "failover"
STAGED = "staged"
"""What the process that is to be killed says before it commits."""
CHILD_SECONDS = 300
Content = tuple[int, int]
"""How many rows a table has, and a checksum of all their values."""


class Exercise(Part):
    """One way of recovery: how long it took, and what was wrong; `skipped` says why it was not."""

    name: str
    seconds: float
    faults: tuple[str, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True)
class Ground:
    """A partitioned table of the scratch lake, and one partition of it."""

    services: Services
    table: LakeTable
    value: date

    @property
    def lake(self) -> Lake:
        """The scratch lake."""
        return self.services.lake

    def content(self) -> Content:
        """Read the whole table through the catalog."""
        with self.services.connect() as con:
            row = con.execute(
                "SELECT count(*), coalesce(sum(hash(one)), 0)"
                f" FROM ({self.lake.pin(self.table).query}) AS one"
            ).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)


def exercise_lake(services: Services, sets: BackupSets, backup: PlatformBackup) -> list[Exercise]:
    """Exercise what can happen to one table: a lost partition, a corrupt file, a killed commit."""
    ground = _ground(services, backup)
    if ground is None:
        reason = "the backup has no partitioned table with rows"
        names = ("lost partition", "corrupt file", "kill in mid-commit")
        return [Exercise(name=name, seconds=0, skipped=reason) for name in names]
    return [
        _done("lost partition", ground, lose_partition),
        _done("corrupt file", ground, lambda one: corrupt_file(one, sets, backup)),
        _done("kill in mid-commit", ground, kill_commit),
    ]


def exercise_failover(url: str, restored_seconds: float) -> Exercise:
    """See that the copy that took over from the lost server takes writes (B-11)."""
    started = time.monotonic()
    faults: list[str] = []
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TEMPORARY TABLE taken_over AS SELECT 1 AS one")
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
            if row is None or row[0]:
                faults.append("failover: the copy only reads; it was not promoted")
    except psycopg.Error as error:
        faults.append(f"failover: the copy takes no writes ({type(error).__name__})")
    seconds = restored_seconds + time.monotonic() - started
    return Exercise(name=FAILOVER, seconds=seconds, faults=tuple(faults))


def lose_partition(ground: Ground) -> list[str]:
    """Delete a partition as somebody would by hand, and restore it from the snapshot before."""
    iceberg = ground.lake.iceberg(ground.table)
    snapshot = iceberg.current_snapshot()
    assert snapshot is not None  # noqa: S101 -- a table with rows has one
    iceberg.delete(f"{ground.table.partition_by} == '{ground.value}'")
    if ground.value in ground.lake.partitions(ground.table):
        return ["the partition could not be deleted, so nothing was exercised"]
    restore_from_snapshot(
        ground.lake,
        ground.table,
        partition=ground.value,
        snapshot_id=snapshot.snapshot_id,
        run_id=RUN_ID,
    )
    return []


def corrupt_file(ground: Ground, sets: BackupSets, backup: PlatformBackup) -> list[str]:
    """Cut a data file in half; it must be noticed, and the table rebuilt from the backup."""
    iceberg = ground.lake.iceberg(ground.table)
    path = Path(unquote(urlsplit(next(iter(live_files(iceberg))).file_path).path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    faults = []
    if not lost_files(ground.lake, ground.table.identifier):
        faults.append("nobody notices a file that was cut in half")
    restore_lake(ground.services, sets, backup)
    if lost_files(ground.lake, ground.table.identifier):
        faults.append("the file is still not what it was")
    return faults


def kill_commit(ground: Ground) -> list[str]:
    """Kill a process while it publishes a partition anew, and let the next one do it again."""
    before = ground.content()
    faults = []
    with _child(ground) as child:
        assert child.stdout is not None  # noqa: S101 -- it is a pipe
        if child.stdout.readline().strip() != STAGED:
            return ["the process that was to be killed ended before it had anything to commit"]
        child.kill()
    if ground.content() != before:
        faults.append("after the kill a reader sees other rows")
    with _child(ground) as child:
        child.communicate()
    if child.returncode != 0:
        faults.append(f"the same run, repeated, ended with code {child.returncode}")
    return faults


def republish(
    services: Services, table: LakeTable, value: date, announce: Callable[[], None]
) -> None:
    """Publish a partition's own rows in its place; `announce` is called before the commit."""
    with services.connect() as con:
        rows = services.lake.relation(con, table, months=(value, value))
        staged = services.lake.stage(table, rows, run_id=RUN_ID, partition=str(value))
    announce()
    services.lake.publish(staged, replace=f"{table.partition_by} == '{value}'", properties={})


def _done(name: str, ground: Ground, work: Callable[[Ground], Sequence[str]]) -> Exercise:
    started = time.monotonic()
    before = ground.content()
    try:
        faults = list(work(ground))
        if ground.content() != before:
            faults.append(f"{'.'.join(ground.table.identifier)} does not hold what it held before")
    except PlatformError as error:
        faults = [str(error)]
    except Exception as error:
        # Whatever goes wrong is a fault of the way of recovery, not of the drill.
        faults = [f"it failed with {type(error).__name__}"]
    seconds = time.monotonic() - started
    return Exercise(name=name, seconds=seconds, faults=tuple(f"{name}: {one}" for one in faults))


def _ground(services: Services, backup: PlatformBackup) -> Ground | None:
    """Return the smallest partitioned table that has rows, and the partition with the fewest."""
    parts = backup.lake.tables if backup.lake else ()
    for part in sorted((one for one in parts if one.row_count), key=lambda one: one.size_bytes):
        namespace, name = part.identifier
        pipeline = namespace.rpartition("_")[0]
        for table in services.lake.tables(pipeline):
            if table.identifier == (namespace, name) and table.partition_by is not None:
                counts = services.lake.partitions(table)
                dated = [(rows, value) for value, rows in counts.items() if isinstance(value, date)]
                if dated:
                    return Ground(services, table, min(dated)[1])
    return None


@contextmanager
def _child(ground: Ground) -> Iterator["subprocess.Popen[str]"]:
    """Lend a process of the scratch platform; it inherits no setting of the real one.

    It is killed at the end of the block, and after a while in any case.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")
    }
    words = [ground.table.pipeline, *ground.table.identifier, str(ground.value)]
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline_platform.recovery.republishing", *words],
        env={**inherited, **ground.services.settings.to_env()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        ended = Timer(CHILD_SECONDS, child.kill)
        ended.start()
        try:
            yield child
        finally:
            ended.cancel()
            child.kill()
