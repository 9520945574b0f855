"""Reading a file again without storing anything, to see how it would come out (B-9)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from pipeline_platform.failures import BadInputError
from pipeline_platform.ingestion.files import arrived_at, landing_of, rejected_rows
from pipeline_platform.ingestion.intake import Intake, Reading, rule_of
from pipeline_platform.lake.engine import sql_name
from pipeline_platform.landing.keys import stored_name
from pipeline_platform.landing.objects import DamagedObjectError, ObjectStore
from pipeline_platform.landing.zone import ClaimedFile, Folder, StoredObject
from pipeline_platform.quality.quarantine import QuarantinedRow

NO_OBJECT = "object_missing"


@dataclass(frozen=True)
class FileTrial:
    """How a file would come out if it was read again now.

    `rule` and `reason` say why it would be refused as a whole, else both are None. `rows` is the
    Parquet file of what would be published to bronze; `published` counts it by partition.
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


def place_of(intake: Intake, sha256: str, name: str) -> tuple[Folder, StoredObject] | None:
    """Find a file's content, under the name it was registered with if that is there."""
    zone = landing_of(intake)
    return zone.find(sha256, name) or zone.find(sha256)


def try_file(intake: Intake, sha256: str, name: str, folder: Path) -> FileTrial:
    """Read a file as an ingest would; it stays where it is, its rows go to `folder`."""
    found = place_of(intake, sha256, name)
    if found is None:
        reason = f"{name} is neither in archive nor in quarantine; ask for the file again."
        return FileTrial(sha256, name, rule=NO_OBJECT, reason=reason)
    file = _described(sha256, found[1])
    path, rows = folder / "delivered", folder / f"{sha256}.parquet"
    try:
        _download(intake, file, found, path)
        return _read(intake, file, path, rows)
    except BadInputError as error:
        rows.unlink(missing_ok=True)
        return FileTrial(sha256, file.name, rule=rule_of(error), reason=str(error))
    finally:
        path.unlink(missing_ok=True)


def _described(sha256: str, item: StoredObject) -> ClaimedFile:
    name = stored_name(item.key, sha256)
    return ClaimedFile(name, sha256, item.size_bytes, item.modified_at, f"{sha256}/{name}")


def _download(
    intake: Intake, file: ClaimedFile, found: tuple[Folder, StoredObject], path: Path
) -> None:
    folder, item = found
    store = ObjectStore.at(landing_of(intake).location(folder), intake.run.services.settings)
    if store.download(item.key, path) != file.sha256:
        raise DamagedObjectError(
            f"The content of {file.name!r} in {folder}/ is no longer the one that arrived; "
            "ask for the file again."
        )


def _read(intake: Intake, file: ClaimedFile, path: Path, rows: Path) -> FileTrial:
    vendor = intake.vendor_of(file.name)
    with intake.read(file, path, arrived_at(intake, file)) as reading:
        _write(intake, reading, rows)
        published = _counted(intake, rows)
        return FileTrial(
            file_sha256=file.sha256,
            file_name=file.name,
            vendor=vendor.name,
            published=published,
            rejected=tuple(rejected_rows(intake, reading, sum(published.values()), file, vendor)),
            rows=rows,
        )


def _write(intake: Intake, reading: Reading, rows: Path) -> None:
    """Write the good records to a Parquet file; a fault of the reading comes out as itself."""
    try:
        pulled = reading.rows
        if isinstance(pulled, duckdb.DuckDBPyRelation):
            pulled.write_parquet(str(rows))
            return
        with intake.run.services.connect() as engine:
            engine.from_arrow(pulled).write_parquet(str(rows))
    except Exception:
        if isinstance(reading.failure, BadInputError):
            raise reading.failure from None
        raise


def _counted(intake: Intake, rows: Path) -> dict[str, int]:
    column = sql_name(str(intake.table.partition_by))
    with intake.run.services.connect() as engine:
        counted = engine.read_parquet(str(rows)).aggregate(f"{column}, count(*)", column).fetchall()
    return {str(value): count for value, count in sorted(counted)}
