"""One event, one row: of several records with the same id the one received first counts.

An id is looked for so many days before and after its own, in every file. Whether a record counts
depends on nothing else, so the order in which days are worked on does not matter.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import duckdb

from pipeline_platform.lake.relations import as_view

KEYS = "event_date, event_id, received_at, file_sha256, line_number"
"""The columns of bronze that decide."""


def days_around(dates: Sequence[date], days: int) -> tuple[date, date]:
    """Return the first and last day whose ids must be known to judge consecutive dates.

    It is twice the ruling: a neighbour that may lose its row to one of ours has neighbours itself.
    """
    reach = timedelta(days=2 * days)
    return dates[0] - reach, dates[-1] + reach


def surplus_records(
    engine: duckdb.DuckDBPyConnection, keys: duckdb.DuckDBPyRelation, days: int
) -> duckdb.DuckDBPyRelation:
    """Return the records (KEYS) of a table `keys` that do not count, for another came first.

    First is by received_at, then file hash and line. Only ids that stand more than once are
    sorted.
    """
    name = as_view(keys)
    return engine.sql(
        f"""
        WITH repeated AS (
            SELECT {KEYS} FROM {name}
            WHERE event_id IN (SELECT event_id FROM {name} GROUP BY event_id HAVING count(*) > 1)
        )
        SELECT {KEYS} FROM repeated
        QUALIFY min(row(received_at, file_sha256, line_number)) OVER (
            PARTITION BY event_id ORDER BY event_date
            RANGE BETWEEN INTERVAL {days} DAY PRECEDING AND INTERVAL {days} DAY FOLLOWING
        ) < row(received_at, file_sha256, line_number)
        """
    )


def related_records(
    engine: duckdb.DuckDBPyConnection,
    keys: duckdb.DuckDBPyRelation,
    neighbours: duckdb.DuckDBPyRelation,
    published: duckdb.DuckDBPyRelation,
) -> duckdb.DuckDBPyRelation:
    """Return the records (KEYS) of other days whose ids some dates have too, or had so far.

    `keys` are the dates' present records, `neighbours` those of the days around them, `published`
    the rows of silver that the dates have now. Only such records can matter.
    """
    return engine.sql(
        f"""
        SELECT {KEYS} FROM {as_view(neighbours)} WHERE event_id IN (
            SELECT event_id FROM {as_view(keys)} UNION ALL SELECT event_id FROM {as_view(published)}
        )
        """
    )


def outdated_days(
    engine: duckdb.DuckDBPyConnection,
    related: duckdb.DuckDBPyRelation,
    surplus: duckdb.DuckDBPyRelation,
    published: duckdb.DuckDBPyRelation,
    dates: Sequence[date],
    days: int,
) -> list[date]:
    """Return the neighbours whose silver has rows that no longer count, or lacks some that do.

    `related` are their records whose ids the dates share, `surplus` those that don't count,
    `published` the rows of silver (KEYS) of the neighbours.
    """
    place = "event_date, event_id, file_sha256, line_number"
    reach, name = timedelta(days=days), as_view(related)
    found = engine.sql(
        f"""
        WITH wanted AS (
            SELECT {place} FROM {name} EXCEPT SELECT {place} FROM {as_view(surplus)}
        ),
        present AS (
            SELECT {place} FROM {as_view(published)}
            WHERE event_id IN (SELECT event_id FROM {name})
        )
        SELECT DISTINCT event_date FROM (
            (FROM wanted EXCEPT FROM present) UNION ALL (FROM present EXCEPT FROM wanted)
        )
        WHERE event_date BETWEEN DATE '{dates[0] - reach}' AND DATE '{dates[-1] + reach}'
        """
    ).fetchall()
    return sorted(day for (day,) in found)
