"""Named locks held by a database session: they end with the process, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pipeline_platform.failures import ConflictError
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.warehouse.database import Database


class SessionLocks:
    """Locks of one session, taken one after the other and given back together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, name: str, *, wait_seconds: float = 60, is_shared: bool = False) -> None:
        """Hold the lock `name` against every other process; raise ConflictError after the wait.

        Any number may hold it shared, or one alone; taking a held lock again changes nothing.
        """
        suffix = "_shared" if is_shared else ""
        try:
            with self._connection.transaction():
                self._connection.execute(
                    "SELECT set_config('lock_timeout', %s, true)", (f"{wait_seconds * 1000:.0f}",)
                )
                self._connection.execute(
                    f"SELECT pg_advisory_lock{suffix}(hashtextextended(%s, 0))".encode(), (name,)
                )
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            raise ConflictError(
                f"Another run has held the lock {name!r} for {wait_seconds:g} s; "
                "the work is tried again when it has ended."
            ) from error


@contextmanager
def session_locks(database: Database) -> Iterator[SessionLocks]:
    """Lend a session that can hold locks; all are given back at the end of the block.

    They are PostgreSQL's advisory locks: a killed process leaves none behind.
    """
    with database.connection() as connection:
        connection.commit()
        try:
            yield SessionLocks(connection)
        finally:
            if not connection.closed:
                connection.rollback()
                connection.execute("SELECT pg_advisory_unlock_all()")


@contextmanager
def named_lock(
    database: Database, name: str, *, wait_seconds: float = 60, is_shared: bool = False
) -> Iterator[None]:
    """Hold one lock for the length of a block; see `SessionLocks.take`."""
    with session_locks(database) as locks:
        locks.take(name, wait_seconds=wait_seconds, is_shared=is_shared)
        yield
