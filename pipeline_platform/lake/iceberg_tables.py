"""The tables of the lake as PyIceberg sees them: found, created and extended by declaration."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.catalog import catalog_failures, open_catalog
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from sqlalchemy import Connection

SECONDS_FOR_A_TURN = 60

_log = logging.getLogger(__name__)


class IcebergTables:
    """The catalog, connected to on first use, and its tables in their current state."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self._definitions = Lock()

    @cached_property
    def catalog(self) -> "Catalog":
        """The PyIceberg catalog; UnavailableError if it does not answer."""
        return open_catalog(self._settings, self._database_url)

    def close(self) -> None:
        """Close the catalog's connections, if there are any."""
        if "catalog" in self.__dict__:
            self.catalog.close()

    def find(self, table: LakeTable) -> "Table | None":
        """Return the table with fresh metadata, or None if it was never created.

        Raises NotFoundError when the catalog names it but its metadata is gone.
        """
        return self.named(table.identifier)

    def named(self, identifier: tuple[str, str]) -> "Table | None":
        """Return the table of that namespace and name; else as `find`."""
        catalog = self.catalog
        from pyiceberg.exceptions import NoSuchTableError  # noqa: PLC0415 - slow import

        with catalog_failures():
            try:
                return catalog.load_table(identifier)
            except NoSuchTableError:
                return None
            except FileNotFoundError as error:
                raise NotFoundError(
                    f"The catalog knows {'.'.join(identifier)}, but not all of its metadata is "
                    f"there ({error.filename or error}); restore the lake's folder, or drop the "
                    "table from the catalog."
                ) from error

    def get(self, table: LakeTable) -> "Table":
        """Return the table with fresh metadata; raise NotFoundError if it was never created."""
        found = self.find(table)
        if found is None:
            raise missing_table(table)
        return found

    def ensure(self, table: LakeTable) -> "Table":
        """Return the table, created or extended where it lacks what is declared."""
        from pipeline_platform.lake import table_definitions  # noqa: PLC0415 - slow imports

        # Files are read side by side, and the first ones of a table would all create or extend it.
        with self._definitions, catalog_failures():
            found = self.find(table)
            if found is None:
                root = self._settings.processed_location.rstrip("/")
                location = "/".join((root, *table.identifier))
                return table_definitions.create_table(self.catalog, table, location)
            table_definitions.extend_table(found, table)
            return found

    @contextmanager
    def turn_to_commit(self, table: LakeTable) -> Iterator[bool]:
        """Let one process at a time commit to a table, where the catalog is in PostgreSQL.

        Yields whether nobody else had the turn. What makes a commit right is that the catalog
        swaps the metadata only if they are still those that it began from; the turn makes it
        certain that a writer gets there, however many others never pause. It is a lock of a
        database transaction, so it ends with the process, in order of arrival. Other catalogs, and
        whoever has waited for a minute, go on without.
        """
        engine = getattr(self.catalog, "engine", None)
        if engine is None or engine.dialect.name != "postgresql":
            yield True
            return
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - slow import

        with catalog_failures():
            connection = engine.connect()
        try:
            with catalog_failures():
                is_first = _take_turn(connection, f"commit {self.catalog.name} {_name(table)}")
            yield is_first
        finally:
            with suppress(SQLAlchemyError):
                connection.close()


def missing_table(table: LakeTable) -> NotFoundError:
    """Return the error that says that a table was never created."""
    return NotFoundError(f"The table {_name(table)} does not exist; publish to it first.")


def _take_turn(connection: "Connection", name: str) -> bool:
    from sqlalchemy import text  # noqa: PLC0415 - slow import
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    lock = "advisory_xact_lock(hashtextextended(:name, 0))"
    if connection.scalar(text(f"SELECT pg_try_{lock}"), {"name": name}):
        return True
    try:
        wait = {"milliseconds": f"{SECONDS_FOR_A_TURN * 1000:.0f}"}
        connection.execute(text("SELECT set_config('lock_timeout', :milliseconds, true)"), wait)
        connection.execute(text(f"SELECT pg_{lock}"), {"name": name})
    except OperationalError as error:
        if type(error.orig).__name__ != "LockNotAvailable":
            raise
        _log.warning("No turn for %s within %s s; going on without", name, SECONDS_FOR_A_TURN)
        connection.rollback()
    return False


def _name(table: LakeTable) -> str:
    return ".".join(table.identifier)
