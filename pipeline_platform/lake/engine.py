"""DuckDB connections: in memory, with bounded memory, offline, in UTC.

The engine keeps no state, so any number of runs may work at once. Extensions come from the
wheels that requirements.txt pins and are loaded by path: nothing is fetched from the network.
"""

import os
import sysconfig
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from pipeline_platform.failures import InvalidSettingError
from pipeline_platform.settings import Settings


def connect(
    settings: Settings, *, memory_limit: str | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB that the caller closes.

    `memory_limit` (such as "512MB") and `threads` replace those of the settings. What does not
    fit into memory spills to a folder of its own below the temp location. S3 can be read and
    written when a location of the settings lies there.
    """
    con = duckdb.connect(config={**options(settings, memory_limit=memory_limit, threads=threads)})
    con.execute("SET TimeZone = 'UTC'")
    if any(is_remote(location) for location in _locations(settings)):
        enable_s3(con, endpoint=settings.s3_endpoint, region=settings.s3_region)
    return con


def options(
    settings: Settings, *, memory_limit: str | None = None, threads: int | None = None
) -> dict[str, str]:
    """Return the configuration of a new DuckDB, by option name.

    The spill folder is a new one on each call: two databases must not share theirs. Freed memory
    goes back to the system soon: by default DuckDB keeps up to half a gigabyte of it,
    and fills the rest of its limit with parts of files, which one range of accounts leaves to the
    next (measured: 91 MB more).
    """
    return {
        "memory_limit": memory_limit or settings.engine_memory_limit,
        "threads": str(threads or settings.engine_threads),
        "temp_directory": str(_spill_folder(settings)),
        "preserve_insertion_order": "false",
        "enable_external_file_cache": "false",
        "allocator_flush_threshold": "8MB",
        "allocator_bulk_deallocation_flush_threshold": "8MB",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension, such as `httpfs` or `postgres_scanner`, from its installed wheel.

    Raises InvalidSettingError when the wheel is missing or made for another DuckDB.
    """
    site_packages = Path(sysconfig.get_paths()["purelib"])
    folder = site_packages / f"duckdb_extension_{name}" / "extensions" / f"v{duckdb.__version__}"
    path = folder / f"{name}.duckdb_extension"
    if not path.exists():
        raise InvalidSettingError(
            f"DuckDB {duckdb.__version__} has no extension {name} at {path}; "
            "install requirements.txt again."
        )
    con.execute(f"LOAD {sql_text(str(path))}")


def enable_s3(con: duckdb.DuckDBPyConnection, *, endpoint: str | None, region: str) -> None:
    """Let a connection read and write `s3://`, with the credentials that AWS clients would use.

    They are looked up anew for each connection (environment, profile, role), so that those of a
    role are fresh. With an endpoint, buckets are addressed by path.
    """
    from botocore.session import get_session  # noqa: PLC0415 - slow import, for S3 only

    load_extension(con, "httpfs")
    given: dict[str, str | bool | None] = {"REGION": region}
    credentials = get_session().get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        given |= {"KEY_ID": frozen.access_key, "SECRET": frozen.secret_key}
        given |= {"SESSION_TOKEN": frozen.token} if frozen.token else {}
    if endpoint:
        address = urlsplit(endpoint)
        given |= {"ENDPOINT": address.netloc + address.path.rstrip("/")}
        given |= {"URL_STYLE": "path", "USE_SSL": address.scheme != "http"}
    names = ", ".join(f"{name} ?" for name in given)
    con.execute(f"CREATE OR REPLACE SECRET lake (TYPE s3, {names})", list(given.values()))


def is_remote(location: str) -> bool:
    """Tell whether a location is in an object store, as opposed to a local folder."""
    return "://" in location


def written_files(con: duckdb.DuckDBPyConnection, folder: str) -> list[str]:
    """Return the paths of all Parquet files below a folder, by `con` if it is in a store."""
    if not is_remote(folder):
        return sorted(str(path) for path in Path(folder).rglob("*.parquet"))
    pattern = sql_text(f"{folder}/**/*.parquet")
    found = con.execute(f"SELECT file FROM glob({pattern})").fetchall()
    return sorted(path for (path,) in found)


def sql_name(name: str) -> str:
    """Quote an identifier for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """Quote a string for DuckDB, where a parameter is not allowed."""
    return "'" + text.replace("'", "''") + "'"


def _locations(settings: Settings) -> tuple[str, ...]:
    return (
        settings.raw_location,
        settings.processed_location,
        settings.temp_location,
        settings.archive_location,
    )


def local_temp(settings: Settings) -> Path:
    """Return the folder of temporary files, which is local whatever the temp location says."""
    temp = settings.temp_location
    return settings.home / "temp" if is_remote(temp) else Path(temp)


def _spill_folder(settings: Settings) -> Path:
    parent = local_temp(settings) / "duckdb"
    parent.mkdir(parents=True, exist_ok=True)
    return parent / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
