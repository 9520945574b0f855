"""Rows of `performance_data` for tests, as Arrow tables."""

from datetime import date, timedelta

import pyarrow as pa

MONTH = date(2026, 10, 1)


def performance_rows(accounts=10, *, month=MONTH, days=28, value=100, **columns):
    """One row per account and day; `columns` replaces or adds columns of one value."""
    names = [f"A{number:04d}" for number in range(accounts) for _ in range(days)]
    dates = [month + timedelta(days=day) for _ in range(accounts) for day in range(days)]
    constant = {
        "data_source": "standard",
        "market_value": value,
        "reconciliation_status": "COMPLETED",
        **columns,
    }
    rows = {"account_id": pa.array(names), "as_of_date": pa.array(dates, pa.date32())}
    for name, given in constant.items():
        rows[name] = pa.array([given] * len(names))
    return pa.table(rows)
