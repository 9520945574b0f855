"""Reading a file again without storing anything, to see how it would come out (B-9)."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipeline_platform.failures import BadInputError
from pipeline_platform.ingestion.files import arrived_at, landing_of, rejected_rows
from pipeline_platform.ingestion.intake import HOP, Intake, Reading, rule_of
from pipeline_platform.ingestion.selection import Replayable
from pipeline_platform.lake.engine import sql_name
from pipeline_platform.landing.keys import stored_name
from pipeline_platform.landing.objects import (
    ArchivedObjectError,
    DamagedObjectError,
    ObjectStore,
    temporary_folder,
)
from pipeline_platform.landing.zone import ClaimedFile, Folder, StoredObject
from pipeline_platform.progress import tracked
from pipeline_platform.quality.quarantine import QuarantinedRow, QuarantinedRows
from pipeline_platform.run_context import RunContext

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
    rejected: QuarantinedRows | tuple[QuarantinedRow, ...] = ()
    rows: Path | None = None

    @property
    def arrived(self) -> int:
        """How many records the file holds; 0 where it can't be read."""
        return sum(self.published.values()) + len(self.rejected)


@contextmanager
def trial_folder(run: RunContext) -> Iterator[Path]:
    """Hand out a folder for what is tried; it goes with all that was written to it."""
    folder = temporary_folder(run.services.settings) / run.runbook.pipeline
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="trial-", dir=folder) as temporary:
        yield Path(temporary)


def try_files(intake: Intake, found: Replayable, folder: Path) -> Iterator[FileTrial]:
    """Try every refused file, and every file of which a line was rejected, one by one."""
    names = {file.file_sha256: file.file_name for file in found.files}
    names |= {row.file_sha256: row.file_name for row in found.rows if row.hop == HOP}
    for sha256, name in tracked(names.items(), "files tried"):
        yield try_file(intake, sha256, name, folder)


def former_partitions(run: RunContext, hashes: Collection[str]) -> set[str]:
    """Return the partitions that files have rows in now, which reading anew may take away."""
    with run.services.database.connection() as connection:
        found = connection.execute(
            "SELECT DISTINCT unnest(partition_keys) FROM etl_processing_log"
            " WHERE pipeline = %s AND file_sha256 = ANY(%s)",
            (run.runbook.pipeline, list(hashes)),
        ).fetchall()
    return {key for (key,) in found}


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
    except (BadInputError, ArchivedObjectError) as error:
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
            rejected=QuarantinedRows(
                rejected_rows(intake, reading, sum(published.values()), file, vendor)
            ),
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
