"""Queries over the lake that are timed and kept in the log, with what was read for them (SW-23)."""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

import psycopg

from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.reading import Pinned
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.lake_queries import LakeQuery, Scanned, record_query

ERROR_LENGTH = 500
_log = logging.getLogger(__name__)


@dataclass
class LoggedQuery:
    """A query that is asked now; tables are read through it, so that it knows what was read."""

    services: Services
    scanned: list[Scanned] = field(default_factory=list)

    def pin(self, table: LakeTable, *, months: tuple[date, date] | None = None) -> Pinned:
        """Return the query that reads a table's present snapshot, as `Lake.pin` does."""
        found = self.services.lake.pin(table, months=months)
        self.scanned.append(scanned_of(table, found))
        return found


@contextmanager
def logged_query(services: Services, pipeline: str, name: str) -> Iterator[LoggedQuery]:
    """Time what is asked in the block, and keep it in the log, also if it fails.

    A log that can't be written, such as over a database that only reads, does not fail the query.
    """
    query, asked_at, started, error = LoggedQuery(services), utc_now(), time.perf_counter(), None
    try:
        yield query
    except Exception as failed:
        error = " ".join(str(failed).split())[:ERROR_LENGTH]
        raise
    finally:
        done = LakeQuery(
            uuid.uuid4(),
            pipeline,
            name,
            asked_at,
            time.perf_counter() - started,
            error,
            tuple(query.scanned),
        )
        keep_queries(services, [done])


def scanned_of(table: LakeTable, pinned: Pinned) -> Scanned:
    """Return what reading a pinned snapshot reads at most."""
    return Scanned(
        "/".join(table.asset_key),
        pinned.snapshot_id,
        len(pinned.files),
        pinned.row_count,
        pinned.size_bytes,
    )


def keep_queries(services: Services, asked: Sequence[LakeQuery]) -> None:
    """Keep queries in the log; where it can't be written they are left out, and the log says so."""
    try:
        with services.database.transaction() as connection:
            for query in asked:
                record_query(connection, query)
    except (PlatformError, psycopg.Error) as refused:
        names = ", ".join(query.name for query in asked)
        _log.warning("The query %s is not in the log: %s", names, type(refused).__name__)
