"""How each check of a runbook ended last, also of one that nobody evaluated (B-14)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from pipeline_platform.runbook import Runbook
from pipeline_platform.warehouse.figures import latest_observations

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
OVERDUE = "overdue"
"""The fourth end of a check: neither passed nor failed nor not measurable, but not asked."""

_CHECK_COLUMNS = {
    "check": "check_name",
    "asset": "asset_key",
    "partition": "partition_key",
    "outcome": "outcome",
    "severity": "severity",
    "value": "value",
    "limit": "limit_value",
    "observed (UTC)": "observed_at",
    "reason": "reason",
}


def latest_checks(conn: Connection, runbook: Runbook, now: datetime) -> list[Row]:
    """Return how each check of a runbook ended last, failures first (B-14).

    A check that was not evaluated within the runbook's interval, or never, is `overdue`, whatever
    it said then.
    """
    found = [
        {shown: row[column] for shown, column in _CHECK_COLUMNS.items()}
        for row in latest_observations(conn, runbook.pipeline)
    ]
    never = runbook.thresholds.keys() - {row["check"] for row in found}
    rows = [_unless_overdue(row, runbook, now) for row in found]
    rows += [
        {
            **dict.fromkeys(_CHECK_COLUMNS),
            "check": name,
            "asset": runbook.thresholds[name].asset,
            "outcome": OVERDUE,
            "reason": "It was never evaluated.",
        }
        for name in sorted(never)
    ]
    order = ("fail", OVERDUE, "not_measurable", "pass")
    return sorted(rows, key=lambda row: order.index(row["outcome"]))


def coverage(rows: Sequence[Row]) -> tuple[int, int]:
    """Return how many checks were measured in time, and how many there are (B-14)."""
    return sum(row["outcome"] in ("pass", "fail") for row in rows), len(rows)


def _unless_overdue(row: Row, runbook: Runbook, now: datetime) -> Row:
    interval = timedelta(minutes=runbook.rulings.checks_expected_every_minutes)
    if now - row["observed (UTC)"] <= interval:
        return row
    last = row["outcome"].replace("_", " ")
    reason = f"It was not evaluated for more than {interval}; the last time it ended as {last}."
    return {**row, "outcome": OVERDUE, "severity": None, "reason": reason}
