"""Reports of the command line over the lake, as rows by column name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline_platform.advisory_performance.evidence import write_reconciliation_report
from pipeline_platform.advisory_performance.reconciliation import reconciliation_report
from pipeline_platform.advisory_performance.relations import literal
from pipeline_platform.advisory_performance.restatements import as_known_at
from pipeline_platform.advisory_performance.seen_figures import with_gold_instants
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    RECONCILIATION,
    RESTATEMENTS,
    RETURN_COLUMNS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.logged_queries import logged_query
from pipeline_platform.services import Services

Row = dict[str, Any]
EARLIEST, LATEST = date(1, 1, 1), date(9999, 12, 1)
_RETURNS = (
    "return_status",
    "is_estimated",
    "opening_value",
    "market_value",
    "net_external_flow",
    "fees",
    *RETURN_COLUMNS,
)
_LATEST_FIRST = "restated_at DESC, account_id, as_of_date, measure"
_VALUES = ("market_value", "currency", "fx_rate", "fees", "account_class")


@dataclass(frozen=True)
class Figures:
    """Which rows of a gold table are wanted; None = any. Both days are included."""

    vendor: str | None = None
    first: date | None = None
    last: date | None = None
    status: str | None = None
    account: str | None = None

    @property
    def months(self) -> tuple[date, date]:
        """First and last month that can hold such rows."""
        first, last = self.first or EARLIEST, self.last or LATEST
        return first.replace(day=1), last.replace(day=1)

    @property
    def condition(self) -> str:
        """The same as an SQL condition."""
        parts = ["true"]
        if self.vendor is not None:
            parts.append(f"vendor = {literal(self.vendor)}")
        if self.account is not None:
            parts.append(f"account_id = {literal(self.account)}")
        if self.first is not None:
            parts.append(f"as_of_date >= DATE '{self.first}'")
        if self.last is not None:
            parts.append(f"as_of_date <= DATE '{self.last}'")
        if self.status is not None:
            parts.append(f"reconciliation_status = {literal(self.status)}")
        return " AND ".join(parts)


def reconciliation_rows(opened: Services, chosen: Figures, limit: int) -> tuple[list[Row], int]:
    """Return the first `limit` compared figures for people to read, and how many there are."""
    with _figures(opened, RECONCILIATION, chosen) as (engine, figures):
        return _rows(reconciliation_report(engine, figures).limit(limit)), _count(figures)


def write_reconciliation(opened: Services, chosen: Figures, path: Path) -> int:
    """Write all compared figures as CSV that is safe to open; return how many (SA-72)."""
    with _figures(opened, RECONCILIATION, chosen) as (engine, figures):
        return write_reconciliation_report(engine, path, figures)


def restatement_rows(
    opened: Services, chosen: Figures, only_material: bool, limit: int, *, seen: bool = False
) -> tuple[list[Row], int]:
    """Return the `limit` latest restatements, and how many there are.

    With `seen` also since when gold held each figure: `old_in_gold` and `new_in_gold`.
    """
    with _figures(opened, RESTATEMENTS, chosen) as (engine, found):
        wanted = found.filter("is_material") if only_material else found
        columns = [name for name in RESTATEMENTS.schema.names if name != "as_of_month"]
        latest = wanted.order(_LATEST_FIRST).limit(limit).project(", ".join(columns))
        if seen:
            returns = opened.lake.relation(engine, TIME_WEIGHTED_RETURNS, months=chosen.months)
            latest = with_gold_instants(engine, latest, returns).order(_LATEST_FIRST)
        return _rows(latest), _count(wanted)


def as_known_rows(opened: Services, account: str, day: date, at: datetime) -> list[Row]:
    """Return each figure of an account and day as it was known at `at` and as it is known now.

    Raises NotFoundError if nothing was ever known of that day.
    """
    rows: list[Row] = []
    with (
        logged_query(opened, PIPELINE, "figures as known at an instant") as query,
        opened.connect() as engine,
    ):
        for table, names in ((VALUATIONS, _VALUES), (TIME_WEIGHTED_RETURNS, _RETURNS)):
            span = (day.replace(day=1), day.replace(day=1))
            of_day = engine.sql(query.pin(table, months=span).query).filter(
                f"account_id = {literal(account)} AND as_of_date = DATE '{day}'"
            )
            then, now = _one(as_known_at(of_day, at)), _one(of_day.filter("is_current"))
            rows += [
                {
                    "table": table.name,
                    "figure": name,
                    "known then": then.get(name),
                    "known now": now.get(name),
                    "changed": "yes" if then.get(name) != now.get(name) else "",
                }
                for name in (*names, "known_from")
                if then.get(name) is not None or now.get(name) is not None
            ]
    if not rows:
        raise NotFoundError(f"Nothing was ever known of account {account} on {day}.")
    return rows


@contextmanager
def _figures(
    opened: Services, table: LakeTable, chosen: Figures
) -> Iterator[tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyRelation]]:
    with (
        logged_query(opened, PIPELINE, f"report of {table.name}") as query,
        opened.connect() as engine,
    ):
        relation = engine.sql(query.pin(table, months=chosen.months).query)
        yield engine, relation.filter(chosen.condition)


def _rows(relation: duckdb.DuckDBPyRelation) -> list[Row]:
    names = relation.columns
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def _one(relation: duckdb.DuckDBPyRelation) -> Mapping[str, Any]:
    rows = _rows(relation)
    return rows[0] if rows else {}


def _count(relation: duckdb.DuckDBPyRelation) -> int:
    counted = relation.aggregate("count(*)").fetchone()
    return int(counted[0]) if counted else 0
