"""Whether a backup is what it was, and what was made of one what it should be."""

import subprocess
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from pipeline_platform.failures import PermanentError, PlatformError
from pipeline_platform.lake.backup import local_folder, spooled_file
from pipeline_platform.lake.engine import connect, sql_text
from pipeline_platform.lake.export import TableExport, lost_files
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.reading import live_files
from pipeline_platform.pipeline_folders import contract_files
from pipeline_platform.progress import tracked
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.validation import validate
from pipeline_platform.recovery.backup_sets import (
    BackupSets,
    DatabasePart,
    LakePart,
    PlatformBackup,
    Verdict,
)
from pipeline_platform.recovery.landing_copies import landing_faults
from pipeline_platform.warehouse.physical_backup import HOURS_TO_RECOVER, faults_of
from pipeline_platform.warehouse.server_files import binaries
from pipeline_platform.warehouse.wal import missing_segments, segment_of


def verify_backup(sets: BackupSets, backup: PlatformBackup, now: datetime) -> Verdict:
    """Read every file of a backup and compare it with the manifest; keep and return what is found.

    The copy of the database is read by PostgreSQL's own programs, the log since is looked at for
    gaps, the lake's Parquet files are opened and their rows counted, and copies of delivered files
    are read.
    """
    faults: list[str] = []
    if backup.database is not None:
        faults += _database_faults(sets, backup.database)
    if backup.lake is not None:
        faults += _lake_faults(sets, backup.lake)
    if backup.landing is not None:
        faults += landing_faults(sets, backup.landing)
    verdict = Verdict(verified_at=now, faults=tuple(faults))
    sets.put_verdict(backup.id, verdict)
    return verdict


def log_gaps(sets: BackupSets, part: DatabasePart) -> list[str]:
    """Name the pieces of the log that are missing since a base backup began."""
    if part.log is None or part.proved_lsn is None:
        return []
    names = [one.key.removesuffix(".gz") for one in sets.log.list()]
    first = segment_of(part.log.timeline, part.log.start_lsn)
    last = segment_of(part.log.timeline, part.proved_lsn)
    return missing_segments(names, first, last)


def lake_faults(lake: Lake, part: LakePart) -> list[str]:
    """Say what a lake lacks that a backup has: files, and rows where it is at the same snapshot.

    Each of these tables is read through the catalog.
    """
    faults = []
    for table in tracked(part.tables, "tables"):
        name = ".".join(table.identifier)
        lost = lost_files(lake, table.identifier)
        if lost:
            faults.append(f"{name} has lost {len(lost)} files, such as {lost[0]}")
            continue
        iceberg = lake.named(table.identifier)
        snapshot = iceberg.current_snapshot() if iceberg else None
        if (snapshot.snapshot_id if snapshot else None) != table.snapshot_id:
            continue
        rows = count_rows(lake, table.identifier)
        if rows != table.row_count:
            faults.append(f"{name} has {rows} rows, not {table.row_count}")
    return faults


def contract_faults(lake: Lake, now: datetime) -> tuple[int, list[str]]:
    """Judge every table that has a contract; return how many rules were, and the broken ones.

    Only rules of severity critical are faults: the others describe what was delivered.
    """
    judged, faults = 0, []
    for path in tracked(contract_files(), "contracts"):
        contract = Contract.load(path)
        pipeline, layer, name = contract.asset.split("/")
        query = table_query(lake, (f"{pipeline}_{layer}", name))
        if query is None:
            continue
        with connect(lake.settings) as con:
            for one in validate(contract, con.sql(query), now=now):
                judged += 1
                if not one.passed and one.severity == "critical":
                    faults.append(f"{contract.asset} breaks {one.rule} ({one.observed})")
    return judged, faults


def count_rows(lake: Lake, identifier: tuple[str, str]) -> int:
    """Count the rows that a reader of a table sees, by reading its files."""
    query = table_query(lake, identifier)
    if query is None:
        return 0
    with connect(lake.settings) as con:
        row = con.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0


def table_query(lake: Lake, identifier: tuple[str, str]) -> str | None:
    """Return the query of a table's present rows, whoever declares it; None without any."""
    iceberg = lake.named(identifier)
    paths = [file.file_path for file in live_files(iceberg)] if iceberg else []
    if not paths:
        return None
    listed = ", ".join(map(sql_text, paths))
    return (
        f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
    )


def _database_faults(sets: BackupSets, part: DatabasePart) -> list[str]:
    faults = []
    with local_folder(sets.settings) as folder:
        for file in tracked(part.files, "files of the database"):
            try:
                file.fetch(sets.store, folder / Path(file.key).name)
            except PlatformError as error:
                faults.append(str(error))
        if not faults:
            if part.kind == "base":
                faults += faults_of(folder)
            else:
                for file in part.files:
                    path = folder / Path(file.key).name
                    faults += _unreadable(path)
    missing = log_gaps(sets, part)
    if missing:
        faults.append(
            f"{len(missing)} pieces of the database's log are missing, the first is {missing[0]}; "
            "nothing after it can be brought back with this backup"
        )
    return faults


def _unreadable(path: Path) -> list[str]:
    """Have PostgreSQL read a whole dump; return what it complains about."""
    done = subprocess.run(
        [str(binaries() / "pg_restore"), "--file=/dev/null", str(path)],
        capture_output=True,
        text=True,
        timeout=HOURS_TO_RECOVER * 3600,
        check=False,
    )
    return [f"{path.name}: {' '.join(done.stderr.split())[-300:]}"] if done.returncode else []


def _lake_faults(sets: BackupSets, part: LakePart) -> list[str]:
    faults = []
    with spooled_file(sets.settings) as spooled:
        for table in tracked(part.tables, "tables"):
            try:
                faults += _export_faults(sets, sets.export(table), spooled)
            except PermanentError as error:
                faults.append(str(error))
    return faults


def _export_faults(sets: BackupSets, export: TableExport, spooled: Path) -> list[str]:
    faults, rows = [], 0
    data = set(export.data_files)
    for file in tracked(export.files, f"files of {export.name}"):
        try:
            file.fetch(sets.store, spooled)
        except PermanentError as error:
            faults.append(str(error))
        else:
            rows += pq.read_metadata(spooled).num_rows if file in data else 0
    if not faults and rows != export.row_count:
        faults.append(f"{export.name} has {rows} rows in its files, not {export.row_count}")
    return faults
