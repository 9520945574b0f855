"""The tables of the lake as PyIceberg sees them: found, created and extended by declaration."""

from functools import cached_property
from typing import TYPE_CHECKING

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.catalog import catalog_failures, open_catalog
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


class IcebergTables:
    """The catalog, connected to on first use, and its tables in their current state."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url

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

        found = self.find(table)
        with catalog_failures():
            if found is None:
                root = self._settings.processed_location.rstrip("/")
                location = "/".join((root, *table.identifier))
                return table_definitions.create_table(self.catalog, table, location)
            table_definitions.extend_table(found, table)
            return found


def missing_table(table: LakeTable) -> NotFoundError:
    """Return the error that says that a table was never created."""
    return NotFoundError(f"The table {_name(table)} does not exist; publish to it first.")


def _name(table: LakeTable) -> str:
    return ".".join(table.identifier)
