"""Take a published file back out of bronze, or read it anew: the two mends of a bad delivery.

A file whose values are wrong as a whole would keep its partitions from being published (its rows
break a blocking threshold). Withdrawn, it lies in quarantine with a reason, its rows are gone from
bronze, and its partitions are asked for again; a replay brings it back.
"""

from pipeline_platform.code_version import code_version
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.ingestion.files import (
    FileOutcome,
    file_lock,
    ingest_files,
    ingest_lock,
    landing_of,
)
from pipeline_platform.ingestion.intake import HOP, Intake
from pipeline_platform.ingestion.trial import trial_folder, try_file
from pipeline_platform.landing.keys import stored_name
from pipeline_platform.warehouse import control
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.warehouse.locks import session_locks

WITHDRAWN = "withdrawn"


def registered_file(
    connection: Connection, pipeline: str, prefix: str
) -> tuple[str, str, tuple[str, ...]]:
    """Return hash, vendor and partitions of the one published file whose hash begins so.

    Raises NotFoundError when no published file or more than one has it.
    """
    rows = connection.execute(
        "SELECT file_sha256, vendor, partition_keys FROM etl_processing_log"
        " WHERE pipeline = %s AND status IN ('PUBLISHED', 'COMPLETED')"
        " AND starts_with(file_sha256, %s) LIMIT 2",
        (pipeline, prefix),
    ).fetchall()
    if len(rows) != 1:
        found = "no published file" if not rows else "more than one published file"
        raise NotFoundError(
            f"The hash {prefix[:64]!r} names {found}; `reports files` lists files and hashes."
        )
    sha256, vendor, partitions = rows[0]
    return sha256, vendor, tuple(partitions)


def withdraw_file(intake: Intake, prefix: str, reason: str) -> tuple[str, ...]:
    """Take a file out of bronze into quarantine; return the partitions to process again.

    Can be repeated after a kill: rows leave first, then the register says so, then the file moves.
    """
    run, zone, table = intake.run, landing_of(intake), intake.table
    services, lake, pipeline = run.services, run.services.lake, table.pipeline
    with services.database.connection() as connection:
        sha256, vendor, partitions = registered_file(connection, pipeline, prefix)
    with session_locks(services.database) as locks:
        locks.take(ingest_lock(pipeline), is_shared=True)
        locks.take(file_lock(pipeline, sha256))
        nothing = lake.stage(
            table, table.schema.empty_table(), run_id=run.run_id, partition=sha256[:16]
        )
        lake.publish(
            nothing,
            replace=f"file_sha256 == '{sha256}'",
            properties={"code_version": code_version(), "inputs": sha256},
        )
        with services.database.transaction() as connection:
            control.mark_quarantined(
                connection,
                pipeline,
                sha256,
                rule=WITHDRAWN,
                reason=reason,
                now=run.now(),
                vendor=vendor,
            )
            connection.execute(
                "DELETE FROM conservation_ledger"
                " WHERE pipeline = %s AND hop = %s AND file_sha256 = %s",
                (pipeline, HOP, sha256),
            )
            control.request_partitions(connection, pipeline, partitions, run.now())
        location = zone.quarantine(zone.restore(sha256), reason)
        with services.database.transaction() as connection:
            control.set_location(connection, pipeline, sha256, location)
    return partitions


def read_anew(intake: Intake, prefix: str) -> FileOutcome:
    """Read a published file again, as its mapping is now; its rows replace the earlier ones.

    Tried first: a file that can't be read any more raises BadInputError and stays as it was.
    """
    services, zone = intake.run.services, landing_of(intake)
    with services.database.connection() as connection:
        sha256, _, _ = registered_file(connection, zone.pipeline, prefix)
    found = zone.find(sha256)
    name = stored_name(found[1].key, sha256) if found else sha256
    with trial_folder(intake.run) as folder:
        trial = try_file(intake, sha256, name, folder)
    if trial.rule is not None:
        raise BadInputError(f"{trial.reason} Nothing was changed.")
    file = zone.restore(sha256)
    return next(iter(ingest_files(intake, [file], again=True)))
