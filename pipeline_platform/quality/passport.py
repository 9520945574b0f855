"""The passport of one served row: back to silver's versions, the file, its line, hash and run.

PostgreSQL is asked for the served row, the file register and the quarantine; the lake's tables
come as DuckDB relations, so that the caller decides which snapshot is read (B-8).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb
import psycopg
from psycopg.rows import dict_row

from pipeline_platform.failures import NotFoundError

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class RowVersion:
    """One version of a row of the lake about the account and day, with all its columns."""

    table: str
    file_sha256: str
    line_number: int
    known_from: datetime
    known_to: datetime | None
    is_current: bool
    values: Mapping[str, Any]


@dataclass(frozen=True)
class SourceLine:
    """The delivered record behind a version: its file, line and text, and who read it when."""

    file_name: str | None
    file_sha256: str
    line_number: int
    vendor: str | None
    arrived_at: datetime | None
    location: str | None
    status: str | None
    run_id: str | None
    record: Mapping[str, Any] | None


@dataclass(frozen=True)
class Passport:
    """Everything that stands behind the figure of one account and day, newest version first.

    `served` is the row of the serving table, or None if it isn't served (yet). `quarantined`
    lists records of the same files that were held back on the way.
    """

    account_id: str
    as_of_date: date
    served: Mapping[str, Any] | None
    versions: tuple[RowVersion, ...]
    lines: tuple[SourceLine, ...]
    quarantined: tuple[Mapping[str, Any], ...]

    @property
    def source(self) -> SourceLine | None:
        """The line that the served row names as its source."""
        if self.served is None:
            return None
        wanted = (self.served["source_file_sha256"], self.served["source_line_number"])
        return next(
            (one for one in self.lines if (one.file_sha256, one.line_number) == wanted), None
        )


PassportSection = tuple[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]]
"""A title, and one row by column name, or several."""


@dataclass(frozen=True)
class ShownPassport:
    """What stands behind anything that is served: for people, and the same for a program."""

    sections: Sequence[PassportSection]
    document: Mapping[str, object]


def trace(
    conn: Connection,
    pipeline: str,
    account_id: str,
    as_of_date: date,
    *,
    silver: Mapping[str, duckdb.DuckDBPyRelation],
    bronze: duckdb.DuckDBPyRelation,
    serving_table: str,
) -> Passport:
    """Follow one account and day back to the delivered lines.

    `silver`: table name -> relation with account_id, as_of_date, file_sha256, line_number and the
    version columns. `bronze`: relation with file_sha256, line_number and the delivered columns.
    Give both of the day's month only. Raises NotFoundError if nothing is known of the day.
    """
    served = _served(conn, serving_table, account_id, as_of_date)
    versions = [
        version
        for name, relation in silver.items()
        for version in _versions(name, relation, account_id, as_of_date)
    ]
    if served is None and not versions:
        raise NotFoundError(
            f"Nothing is known of account {account_id} on {as_of_date}; "
            "check the account number, the day, and quarantine list."
        )
    versions.sort(key=lambda one: (one.table, one.known_from, one.line_number), reverse=True)
    places = {(version.file_sha256, version.line_number) for version in versions}
    if served is not None and served["source_file_sha256"] is not None:
        places.add((served["source_file_sha256"], served["source_line_number"]))
    lines = delivered_lines(conn, pipeline, sorted(places), bronze)
    return Passport(
        account_id,
        as_of_date,
        served,
        tuple(versions),
        lines,
        _quarantined(conn, pipeline, account_id, as_of_date, {place[0] for place in places}),
    )


def _served(
    conn: Connection, serving_table: str, account_id: str, as_of_date: date
) -> dict[str, Any] | None:
    with conn.cursor(row_factory=dict_row) as cursor:
        query = psycopg.sql.SQL("SELECT * FROM {} WHERE account_id = %s AND as_of_date = %s")
        cursor.execute(
            query.format(psycopg.sql.Identifier(serving_table)), (account_id, as_of_date)
        )
        return cursor.fetchone()


def _versions(
    table: str, relation: duckdb.DuckDBPyRelation, account_id: str, as_of_date: date
) -> list[RowVersion]:
    # Parameters can't be bound to a relation's filter: constants do it without quoting by hand.
    constant, column = duckdb.ConstantExpression, duckdb.ColumnExpression
    chosen = relation.filter(
        (column("account_id") == constant(account_id))
        & (column("as_of_date") == constant(as_of_date))
    )
    return [
        RowVersion(
            table,
            row["file_sha256"],
            row["line_number"],
            row["known_from"],
            row["known_to"],
            row["is_current"],
            row,
        )
        for row in dictionaries(chosen)
    ]


def delivered_lines(
    conn: Connection,
    pipeline: str,
    places: list[tuple[str, int]],
    bronze: duckdb.DuckDBPyRelation,
) -> tuple[SourceLine, ...]:
    """Return what is known of delivered lines, each named by file hash and line number."""
    hashes = sorted({sha256 for sha256, _ in places})
    records = _records(bronze, places)
    with conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            """
            SELECT file_sha256, file_name, vendor, arrived_at, location, status, run_id
            FROM etl_processing_log WHERE pipeline = %s AND file_sha256 = ANY(%s)
            """,
            (pipeline, hashes),
        )
        files = {row["file_sha256"]: row for row in cursor.fetchall()}
    lines = []
    for sha256, line_number in places:
        file = files.get(sha256, {})
        lines.append(
            SourceLine(
                file.get("file_name"),
                sha256,
                line_number,
                file.get("vendor"),
                file.get("arrived_at"),
                file.get("location"),
                file.get("status"),
                file.get("run_id"),
                records.get((sha256, line_number)),
            )
        )
    return tuple(lines)


def _records(
    bronze: duckdb.DuckDBPyRelation, places: list[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, Any]]:
    if not places:
        return {}
    constant, column = duckdb.ConstantExpression, duckdb.ColumnExpression
    chosen = bronze.filter(
        column("file_sha256").isin(*[constant(sha256) for sha256 in {p[0] for p in places}])
        & column("line_number").isin(*[constant(line) for line in {p[1] for p in places}])
    )
    wanted = set(places)
    return {
        (row["file_sha256"], row["line_number"]): row
        for row in dictionaries(chosen)
        if (row["file_sha256"], row["line_number"]) in wanted
    }


def _quarantined(
    conn: Connection, pipeline: str, account_id: str, as_of_date: date, hashes: set[str]
) -> tuple[dict[str, Any], ...]:
    """Return held-back records of the month that name the account and the day."""
    with conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            """
            SELECT hop, file_name, file_sha256, line_number, rule, reason, record, state
            FROM quarantined_rows
            WHERE pipeline = %(pipeline)s AND partition_key = %(month)s
              AND strpos(record, %(account)s) > 0
              AND (strpos(record, %(day)s) > 0 OR file_sha256 = ANY(%(hashes)s))
            ORDER BY quarantined_at, line_number LIMIT 100
            """,
            {
                "pipeline": pipeline,
                "month": as_of_date.replace(day=1).isoformat(),
                "account": account_id,
                "day": as_of_date.isoformat(),
                "hashes": sorted(hashes),
            },
        )
        return tuple(cursor.fetchall())


def dictionaries(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """Return a relation's rows by column name."""
    names = relation.columns
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
