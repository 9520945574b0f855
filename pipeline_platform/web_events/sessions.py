"""Sessions: a visitor's events of one day without a pause longer than the ruling allows.

A session ends at midnight UTC, so that a date is a function of its own events.
"""

import duckdb

from pipeline_platform.lake.relations import as_view

LAST_PLACE = 2**31 - 1


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
        WITH steps AS MATERIALIZED (
            SELECT event_number, event_date, visitor_id, event_at,
                CAST(row_number() OVER visitor_events AS INTEGER) AS place,
                lag(event_at) OVER visitor_events AS before
            FROM {as_view(events)}
            WINDOW visitor_events AS (
                PARTITION BY event_date, visitor_id ORDER BY event_at, event_id
            )
        ),
        starts AS (
            SELECT event_date, visitor_id, event_at AS started_at, place AS first_place,
                lead(place, 1, {LAST_PLACE}) OVER (
                    PARTITION BY event_date, visitor_id ORDER BY place
                ) AS next_place
            FROM steps
            WHERE before IS NULL OR epoch_us(event_at) - epoch_us(before) > {minutes * 60_000_000}
        )
        SELECT step.event_date, step.event_at, step.event_number,
            visitor_id || '-' || epoch_us(started_at) AS session_id,
            step.place - first_place + 1 AS session_event_number
        FROM steps AS step JOIN starts AS start USING (event_date, visitor_id)
        WHERE step.place >= first_place AND step.place < next_place
        """  # a join of few rows: a day has no more sessions of a visitor than pauses fit into it
    )
