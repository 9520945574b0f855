"""The passport of one event: from gold of its day back to every file and line that held it (B-8).

Copies of an event share its id; silver took the line that its row names, the other lines were
deduplicated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import duckdb
from psycopg.rows import dict_row

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.quality.passport import (
    PassportSection,
    ShownPassport,
    SourceLine,
    delivered_lines,
    dictionaries,
)
from pipeline_platform.services import Services
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.web_events.marts import DAILY_SUMMARY, MARTS, SESSIONS
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS

Row = Mapping[str, Any]


@dataclass(frozen=True)
class EventPassport:
    """What stands behind an event, all but `silver` as rows by column name.

    `gold` is its session and the summary of its day, `made_by` the publications that wrote the
    day's partition of silver and gold, `lines` every delivery of the id, `held` the records of
    these files that were held back under this id.
    """

    event_id: str
    event_date: date
    silver: Row
    gold: Sequence[Row]
    made_by: Sequence[Row]
    lines: Sequence[SourceLine]
    held: Sequence[Row]

    @property
    def source(self) -> SourceLine | None:
        """The line that the row in silver was made from."""
        wanted = (self.silver["file_sha256"], self.silver["line_number"])
        return next(
            (one for one in self.lines if (one.file_sha256, one.line_number) == wanted), None
        )

    def deliveries(self) -> list[dict[str, object]]:
        """Return the lines with what became of each: `source` or `deduplicated`."""
        return [
            {
                "is": "source" if one == self.source else "deduplicated",
                "file": one.file_name,
                "sha256": one.file_sha256,
                "line": one.line_number,
                "arrived": one.arrived_at,
                "status": one.status,
                "location": one.location,
                "run": one.run_id,
                "record": (one.record or {}).get("raw"),
            }
            for one in self.lines
        ]

    def document(self) -> dict[str, object]:
        """Return all of it, for a JSON document."""
        return {**asdict(self), "lines": self.deliveries()}


def trace_event(services: Services, event_id: str, day: date | None = None) -> EventPassport:
    """Follow an event back to its lines; NotFoundError if silver does not hold it.

    Without `day` every day of silver is looked through.
    """
    span = None if day is None else (day, day)
    with services.connect() as engine, services.database.connection() as connection:
        found = dictionaries(_with_id(services, engine, WEB_EVENTS, event_id, span))
        if not found:
            raise NotFoundError(
                f"Silver holds no event {event_id[:80]!r}{f' on {day}' if day else ''}; look in "
                "`quarantine list --pipeline web_events`, and whether its day still waits."
            )
        silver = found[0]
        event_date: date = silver["event_date"]
        copies = _with_id(services, engine, RAW_EVENTS, event_id, None)
        places = sorted(copies.project("file_sha256, line_number").fetchall())
        return EventPassport(
            event_id=event_id,
            event_date=event_date,
            silver=silver,
            gold=[
                {"table": table.name, **row}
                for table, column, value in (
                    (SESSIONS, "session_id", silver["session_id"]),
                    (DAILY_SUMMARY, "event_date", event_date),
                )
                for row in dictionaries(_rows(services, engine, table, column, value, event_date))
            ],
            made_by=_made_by(services, event_date),
            lines=delivered_lines(connection, PIPELINE, places, copies),
            held=_held(connection, event_id, sorted({sha256 for sha256, _ in places})),
        )


def passport(services: Services, event_id: str, day: date | None) -> ShownPassport:
    """Show what stands behind an event; NotFoundError if silver does not hold it."""
    found = trace_event(services, event_id, day)
    sections: list[PassportSection] = [
        (f"{found.event_id}, {found.event_date}: row in silver", found.silver),
        ("Tables of its day", found.made_by),
        *((f"Gold that counts it: {row['table']}", row) for row in found.gold),
        ("Delivered lines", found.deliveries()),
    ]
    if found.held:
        sections.append(("Held back under this id", found.held))
    return ShownPassport(sections, found.document())


def _with_id(
    services: Services,
    engine: duckdb.DuckDBPyConnection,
    table: LakeTable,
    event_id: str,
    span: tuple[date, date] | None,
) -> duckdb.DuckDBPyRelation:
    rows = services.lake.relation(engine, table, months=span)
    return rows.filter(duckdb.ColumnExpression("event_id") == duckdb.ConstantExpression(event_id))


def _rows(
    services: Services,
    engine: duckdb.DuckDBPyConnection,
    table: LakeTable,
    column: str,
    value: str | date,
    day: date,
) -> duckdb.DuckDBPyRelation:
    rows = services.lake.relation(engine, table, months=(day, day))
    return rows.filter(duckdb.ColumnExpression(column) == duckdb.ConstantExpression(value))


def _made_by(services: Services, day: date) -> list[dict[str, object]]:
    tables = [WEB_EVENTS, *(table for table in MARTS.tables if table.partition_by == "event_date")]
    return [
        {
            "table": f"{table.layer}/{table.name}",
            "committed_at": one.committed_at,
            "run_id": one.properties.get("run_id"),
            "code_version": one.properties.get("code_version"),
            "snapshot": one.snapshot_id,
        }
        for table in tables
        for one in services.lake.writers(table, day)
    ]


def _held(connection: Connection, event_id: str, hashes: Sequence[str]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT hop, file_name, file_sha256, line_number, rule, reason, record, state"
            " FROM quarantined_rows WHERE pipeline = %s AND file_sha256 = ANY(%s)"
            " AND strpos(record, %s) > 0 ORDER BY quarantined_at, line_number LIMIT 100",
            (PIPELINE, list(hashes), event_id),
        )
        return cursor.fetchall()
