"""Sessions: a visitor's events of one day without a pause longer than the ruling allows.

A session ends at midnight UTC, so that a date is a function of its own events.
"""

import duckdb

from pipeline_platform.lake.relations import as_view


def sessions(
    engine: duckdb.DuckDBPyConnection, events: duckdb.DuckDBPyRelation, minutes: int
) -> duckdb.DuckDBPyRelation:
    """Return one row per event: what tells its place, session_id and session_event_number.

    Its place are event_date, event_at and event_number.

    `events` has event_number (unique), event_date, event_at, event_id and visitor_id. A session's
    id is its visitor's and the microsecond of its first event; its events are numbered from 1 by
    event_at, then event_id.
    """
    return engine.sql(
        f"""
        WITH steps AS (
            SELECT event_number, event_date, visitor_id, event_at,
                row_number() OVER visitor_events AS place,
                coalesce(
                    epoch_us(event_at) - epoch_us(lag(event_at) OVER visitor_events)
                        > {minutes * 60_000_000},
                    true
                ) AS is_start
            FROM {as_view(events)}
            WINDOW visitor_events AS (
                PARTITION BY event_date, visitor_id ORDER BY event_at, event_id
            )
        ),
        starts AS (
            SELECT event_date, event_at, event_number, visitor_id, place,
                max(CASE WHEN is_start THEN place END) OVER so_far AS first_place,
                max(CASE WHEN is_start THEN event_at END) OVER so_far AS started_at
            FROM steps
            WINDOW so_far AS (
                PARTITION BY event_date, visitor_id ORDER BY place ROWS UNBOUNDED PRECEDING
            )
        )
        SELECT event_date, event_at, event_number,
            visitor_id || '-' || epoch_us(started_at) AS session_id,
            CAST(place - first_place + 1 AS INTEGER) AS session_event_number
        FROM starts
        """
    )
