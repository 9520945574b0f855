"""What can be looked at of a lake that must hold together; nothing is changed (SA-66, SW-51)."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from pipeline_platform.failures import NotFoundError, PlatformError
from pipeline_platform.ingestion.undoing import POSITIONS
from pipeline_platform.lake.engine import connect, sql_text
from pipeline_platform.lake.export import lost_files, table_names
from pipeline_platform.lake.reading import live_files, stored_partition_value
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.progress import tracked
from pipeline_platform.recovery.backup_sets import BackupSets, LakePart, LakeTablePart
from pipeline_platform.recovery.verification import contract_faults, lake_faults
from pipeline_platform.services import Services
from pipeline_platform.streams.committed import Committed, property_name

Identifier = tuple[str, str]


@dataclass(frozen=True)
class Looked:
    """What was looked at of one aspect: how many of what, and what is wrong."""

    aspect: str
    count: int
    unit: str
    faults: tuple[str, ...]

    def in_words(self) -> str:
        """Say it in one line."""
        outcome = "; ".join(self.faults[:5]) if self.faults else "all well"
        return f"{self.aspect}: {self.count} {self.unit}, {outcome}"


def look_at_files(services: Services, part: LakePart | None) -> Looked:
    """Look for every file of the lake; and for the tables, files and rows that a backup has."""
    lake, names = services.lake, table_names(services.lake)
    faults = lake_faults(lake, part) if part else []
    judged = {one.identifier for one in (part.tables if part else ())}
    faults += [
        f"{'.'.join(one)} has lost {len(lost)} files"
        for one in names
        if one not in judged and (lost := lost_files(lake, one))
    ]
    return Looked("lake files", len(names), "tables", tuple(faults))


def look_at_checksums(services: Services, part: LakePart | None) -> Looked:
    """Read every file of the lake that the backup has, and compare its SHA-256."""
    sets, count, faults = BackupSets(services.settings), 0, list[str]()
    for table in tracked(part.tables if part else (), "tables"):
        paths = _live_paths(services, table)
        if paths is None:
            continue
        root, present = paths
        store = ObjectStore.at(root, services.settings)
        for file in sets.export(table).data_files:
            if file.path not in present:
                continue
            count += 1
            try:
                found = store.sha256(file.path)
            except NotFoundError:
                found = "missing"
            if found != file.sha256:
                faults.append(f"{root}/{file.path} is not what was backed up ({found[:12]})")
    return Looked("lake checksums", count, "files of the backup compared", tuple(faults))


def _live_paths(services: Services, table: LakeTablePart) -> tuple[str, set[str]] | None:
    """Return a table's location, and the paths below it of its present data files."""
    iceberg = services.lake.named(table.identifier)
    if iceberg is None:
        return None
    root = iceberg.location()
    try:
        return root, {one.file_path.removeprefix(f"{root}/") for one in live_files(iceberg)}
    except FileNotFoundError:
        return None  # told as lost files


def look_at_partitions(services: Services) -> Looked:
    """Count each partition's rows by reading them, and compare with what the catalog says."""
    count, faults = 0, list[str]()
    for identifier in tracked(table_names(services.lake), "tables"):
        if lost_files(services.lake, identifier):
            continue  # told already
        wanted, found = _rows_by_partition(services, identifier)
        count += len(wanted)
        faults += [
            f"{'.'.join(identifier)} has {found.get(key, 0)} rows in partition {key}, "
            f"not {wanted.get(key, 0)}"
            for key in sorted(wanted.keys() | found.keys())
            if wanted.get(key, 0) != found.get(key, 0)
        ]
    return Looked("lake partitions", count, "partitions counted", tuple(faults))


def _rows_by_partition(
    services: Services, identifier: Identifier
) -> tuple[dict[str, int], dict[str, int]]:
    """Return a table's rows by partition: as its present snapshot says, and as they are read."""
    iceberg = services.lake.named(identifier)
    files = live_files(iceberg) if iceberg else []
    if iceberg is None or not files:
        return {}, {}
    said: Counter[str] = Counter()
    for file in files:
        said[str(stored_partition_value(iceberg, file.partition))] += file.record_count
    fields = iceberg.spec().fields
    key = f'"{iceberg.schema().find_column_name(fields[0].source_id)}"' if fields else "NULL"
    listed = ", ".join(sql_text(one.file_path) for one in files)
    with connect(services.settings) as con:
        rows = con.execute(
            f"SELECT {key}, count(*) FROM read_parquet([{listed}], hive_partitioning = false,"
            " union_by_name = true) GROUP BY 1"
        ).fetchall()
    return dict(said), {str(value): count for value, count in rows}


def look_at_contracts(services: Services, now: datetime) -> Looked:
    """Judge every rule of every contract."""
    rules, faults = contract_faults(services.lake, now)
    return Looked("contracts", rules, "rules judged", tuple(faults))


def look_at_positions(services: Services) -> Looked:
    """Look whether each stream's position is the one that the newest rows were committed with."""
    count, faults = 0, list[str]()
    for identifier in table_names(services.lake):
        iceberg = services.lake.named(identifier)
        if iceberg is None:
            continue
        for name, text in iceberg.properties.items():
            if not name.startswith(property_name("")):
                continue
            count += 1
            stream = name.removeprefix(property_name(""))
            said = [
                json.loads(one.summary.additional_properties[POSITIONS])
                for one in iceberg.snapshots()
                if one.summary and POSITIONS in one.summary.additional_properties
            ]
            committed = [one[stream] for one in said if stream in one]
            try:
                position = Committed.parse(text).positions
            except PlatformError as error:
                faults.append(str(error))
                continue
            if committed and dict(position) != committed[-1]:
                faults.append(
                    f"{'.'.join(identifier)} is at another position of the stream {stream} than "
                    "its newest rows were committed with"
                )
    return Looked("positions", count, "streams", tuple(faults))
