"""Files that database and lake no longer agree on, after one of them was brought back (SA-71)."""

from pipeline_platform.lake.export import table_names
from pipeline_platform.recovery.verification import table_query
from pipeline_platform.services import Services
from pipeline_platform.streams.batch_files import is_batch_name


def deliver_unknown(services: Services, pipeline: str) -> list[str]:
    """Take up archived files that the register does not know; return their hashes (SA-71)."""
    zone = services.landing(pipeline)
    found = unknown_files(services, pipeline)
    for sha256, name in found:
        zone.restore(sha256, name)
    return [sha256 for sha256, _ in found]


def unknown_files(services: Services, pipeline: str) -> list[tuple[str, str]]:
    """Return hash and name of archived files that the register does not know.

    They came after the point to which the database was brought back. Batches of a stream are left
    out: the stream's position came back with the table, and they are read again from there.
    """
    zone = services.landing(pipeline)
    with services.database.connection() as connection:
        rows = connection.execute(
            "SELECT file_sha256 FROM etl_processing_log WHERE pipeline = %s", (pipeline,)
        ).fetchall()
    known = {row[0] for row in rows}
    unknown = []
    for item in zone.list("archive"):
        _, sha256, *name = item.key.split("/", 2)
        if sha256 in known or not name or is_batch_name(name[0]):
            continue
        unknown.append((sha256, name[0]))
    return unknown


def files_without_rows(services: Services, pipeline: str) -> list[str]:
    """Return the hashes of published files of which bronze has no row, though it should (SA-71)."""
    with services.database.connection() as connection:
        rows = connection.execute(
            "SELECT file_sha256 FROM etl_processing_log WHERE pipeline = %s"
            " AND status IN ('PUBLISHED', 'COMPLETED') AND records_processed > 0"
            " ORDER BY published_at",
            (pipeline,),
        ).fetchall()
    published = [row[0] for row in rows]
    if not published:
        return []
    present = set[str]()
    for identifier in table_names(services.lake):
        if identifier[0] == f"{pipeline}_bronze":
            present |= _values(services, identifier, "file_sha256")
    return [one for one in published if one not in present]


def _values(services: Services, identifier: tuple[str, str], column: str) -> set[str]:
    query = table_query(services.lake, identifier)
    if query is None:
        return set()
    with services.connect() as con:
        return {
            row[0] for row in con.execute(f"SELECT DISTINCT {column} FROM ({query})").fetchall()
        }
