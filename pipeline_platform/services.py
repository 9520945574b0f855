"""What the platform talks to, opened from the settings on first use and shared by all who ask.

The one place where command line, Dagster resources and tests get their database, lake, landing
zones and DuckDB connections from, so that all three run the same code. Nothing connects when the
object is made: definitions load without any service.
"""

from functools import cached_property
from typing import Self

import duckdb

from pipeline_platform.lake.engine import connect
from pipeline_platform.lake.lake import Lake
from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.memory import bound_allocator
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse.database import Database, database_url
from pipeline_platform.warehouse.migrations import migrate


class Services:
    """Database, lake, landing zones and engine of one set of settings."""

    def __init__(self, settings: Settings) -> None:
        bound_allocator(settings.memory_bytes)
        self.settings = settings

    @cached_property
    def database(self) -> Database:
        """The pooled serving database, with its schema brought up to date."""
        url = database_url(self.settings)
        migrate(url)
        return Database(url, self.settings.database_connections)

    @cached_property
    def lake(self) -> Lake:
        """The Iceberg tables of all pipelines."""
        return Lake.open(self.settings, self.database.url)

    def landing(self, pipeline: str) -> LandingZone:
        """Return the landing zone of one pipeline."""
        return LandingZone(self.settings, pipeline)

    def connect(
        self, *, memory_limit: str | None = None, threads: int | None = None
    ) -> duckdb.DuckDBPyConnection:
        """Open an in-memory DuckDB; the caller closes it."""
        return connect(self.settings, memory_limit=memory_limit, threads=threads)

    def sized(self, memory_limit: str | None, threads: int | None) -> Self:
        """Return the same services with another compute size for what DuckDB does (SA-53).

        Raises InvalidSettingError for a size that can't be.
        """
        given = {"memory_limit": memory_limit, "threads": threads}
        changes = {name: value for name, value in given.items() if value is not None}
        if not changes:
            return self
        settings = Settings.of({**self.settings.model_dump(), **changes})
        other = type(self)(settings)
        other.__dict__["database"] = self.database
        return other

    def with_lake(self, lake: Lake) -> Self:
        """Return the same services over a lake that shows other rows, such as proposed ones."""
        other = type(self)(lake.settings)
        other.__dict__.update(database=self.database, lake=lake)
        return other

    def close(self) -> None:
        """Give the pooled connections back."""
        if "lake" in self.__dict__:
            self.lake.close()
        if "database" in self.__dict__:
            self.database.close()

    def __enter__(self) -> Self:
        """Hand out the services for a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""
        self.close()
