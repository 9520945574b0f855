"""The catalog that names each table's current state: PostgreSQL, AWS Glue or REST, by setting."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline_platform.failures import InvalidSettingError, UnavailableError
from pipeline_platform.lake.engine import is_remote
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from sqlalchemy import URL

CATALOG_DATABASE = "iceberg_catalog"
"""Database (or, where none may be created, schema) that holds the SQL catalog's tables."""

_CLIENTS = {"sqlalchemy", "psycopg", "botocore", "requests"}
_NO_ANSWER = {
    "OperationalError",
    "InterfaceError",
    "HTTPClientError",
    "ConnectionError",
    "Timeout",
}


def open_catalog(settings: Settings, database_url: str) -> "Catalog":
    """Connect to the catalog of the settings; raise UnavailableError if it does not answer.

    `sql` is PLATFORM_CATALOG_URI or a database beside the platform's own on the same server,
    created when missing. Its tables are listed under the name of the platform's database, so
    that several platforms can share a server. `glue` takes PLATFORM_CATALOG_URI as endpoint if
    given; `rest` needs it.
    """
    properties = _file_properties(settings)
    with catalog_failures():
        if settings.catalog == "glue":
            return _glue(settings, properties)
        if settings.catalog == "rest":
            return _rest(settings, properties)
        return _sql(settings, database_url, properties)


@contextmanager
def catalog_failures() -> Iterator[None]:
    """Turn a catalog that does not answer into UnavailableError, without its address.

    The clients' exceptions are told by name: importing three clients to name their classes would
    cost each process half a second.
    """
    try:
        yield
    except Exception as error:
        client = type(error).__module__.partition(".")[0]
        if client in _CLIENTS and {kind.__name__ for kind in type(error).__mro__} & _NO_ANSWER:
            raise UnavailableError(
                f"The Iceberg catalog did not answer ({client}: {type(error).__name__}); "
                "check that its server runs and PLATFORM_CATALOG_URI is right."
            ) from error
        raise


def _file_properties(settings: Settings) -> dict[str, str]:
    """Say how metadata files are reached; keys of S3 come from the environment or a role."""
    if not is_remote(settings.processed_location):
        return {"py-io-impl": "pipeline_platform.lake.local_files.LocalFiles"}
    properties = {"s3.region": settings.s3_region, "client.region": settings.s3_region}
    return properties | ({"s3.endpoint": settings.s3_endpoint} if settings.s3_endpoint else {})


def _glue(settings: Settings, properties: dict[str, str]) -> "Catalog":
    from pyiceberg.catalog.glue import GlueCatalog  # noqa: PLC0415 - slow import

    given = {"glue.region": settings.s3_region}
    given |= {"glue.endpoint": settings.catalog_uri} if settings.catalog_uri else {}
    return GlueCatalog("pipeline_platform", **properties, **given)


def _rest(settings: Settings, properties: dict[str, str]) -> "Catalog":
    from pyiceberg.catalog.rest import RestCatalog  # noqa: PLC0415 - slow import

    if not settings.catalog_uri:
        raise InvalidSettingError(
            "PLATFORM_CATALOG is rest, but PLATFORM_CATALOG_URI is not set; give its address."
        )
    return RestCatalog("pipeline_platform", uri=settings.catalog_uri, **properties)


def _sql(settings: Settings, database_url: str, properties: dict[str, str]) -> "Catalog":
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415 - slow import
    from sqlalchemy import make_url  # noqa: PLC0415

    platform = make_url(database_url).set(drivername="postgresql+psycopg")
    uri = settings.catalog_uri or _beside(platform).render_as_string(hide_password=False)
    return SqlCatalog(platform.database or "platform", uri=uri, pool_pre_ping="true", **properties)


def _beside(platform: "URL") -> "URL":
    """Return the address of the catalog's database, or of its schema where none may be made."""
    import psycopg  # noqa: PLC0415 - only the SQL catalog needs it
    from psycopg import errors, sql  # noqa: PLC0415

    exists = "SELECT 1 FROM pg_database WHERE datname = %s"
    address = platform.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(address, autocommit=True) as connection:
            if connection.execute(exists, [CATALOG_DATABASE]).fetchone() is None:
                name = sql.Identifier(CATALOG_DATABASE)
                try:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
                except (errors.DuplicateDatabase, errors.UniqueViolation):
                    pass  # another process was faster
                except errors.InsufficientPrivilege:
                    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
                    search = f"-csearch_path={CATALOG_DATABASE}"
                    return platform.update_query_dict({"options": search})
    except psycopg.OperationalError as error:
        raise UnavailableError(
            f"PostgreSQL did not answer ({type(error).__name__}), so the lake can't be opened; "
            "check that the server runs and PLATFORM_DATABASE_URL is right."
        ) from error
    return platform.set(database=CATALOG_DATABASE)
