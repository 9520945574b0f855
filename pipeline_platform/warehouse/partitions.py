"""Monthly partitions: made on request and ahead of time (SA-35, SA-73; D-1)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg

from pipeline_platform.failures import BadInputError, NotFoundError, PermanentError

Connection = psycopg.Connection[Any]
_UNUSABLE = (
    psycopg.errors.InvalidDatetimeFormat,
    psycopg.errors.NullValueNotAllowed,
    psycopg.errors.WrongObjectType,
    psycopg.errors.NameTooLong,
    psycopg.errors.DuplicateTable,
    psycopg.errors.InvalidObjectDefinition,
)


def create_monthly_partition(conn: Connection, table: str, day: date | str) -> str:
    """Make the partition of the month that `day` lies in, unless it exists; return its name.

    The SQL function of the same name with our errors: NotFoundError for a table that does not
    exist, BadInputError for a day or table that can't be used.
    """
    with our_errors():
        row = conn.execute("SELECT create_monthly_partition(%s, %s)", (table, str(day))).fetchone()
    return str(row[0]) if row else ""


def premake_months(conn: Connection, table: str, today: date, months: int) -> list[str]:
    """Make this month's partition and those of the next `months`; return the names made now."""
    present = set(_children(conn, table))
    first = today.year * 12 + today.month - 1
    days = (date(n // 12, n % 12 + 1, 1) for n in range(first, first + months + 1))
    names = [create_monthly_partition(conn, table, day) for day in days]
    return [name for name in names if name not in present]


def _children(conn: Connection, table: str) -> Iterator[str]:
    rows = conn.execute(
        """
        SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(%s)
        """,
        (table,),
    ).fetchall()
    return (row[0] for row in rows)


@contextmanager
def our_errors() -> Iterator[None]:
    """Tell what PostgreSQL refuses about partitions as the platform's errors."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise NotFoundError(error.diag.message_primary) from error
    except psycopg.errors.CheckViolation as error:
        raise PermanentError(
            f"{error.diag.message_primary}. Rows of that month lie in the default partition; "
            "`maintenance drain` moves them, then try again."
        ) from error
    except _UNUSABLE as error:
        raise BadInputError(error.diag.message_primary) from error
