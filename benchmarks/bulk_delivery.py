"""A delivery in the standard CSV of any size, made by DuckDB in seconds.

Accounts follow a random walk on business days; values are whole cents, one day in a hundred has
a flow at its start, and the reported daily return is the true one to six decimals, so the file
passes every check and nearly all of it reconciles.
"""

from datetime import date, timedelta
from pathlib import Path

import duckdb

HEADER_COLUMNS = (
    *("account_id", "as_of_date", "market_value", "external_flow", "flow_timing"),
    *("reported_return", "reported_period", "currency"),
)
FRIDAY = 4

_QUERY = """
COPY (
    WITH steps AS (
        SELECT a AS account, d.number, d.day,
            1 + CAST(hash(a, d.number) % 20001 AS DOUBLE) / 1e6 - 0.01 AS growth,
            CASE WHEN d.number > 0 AND hash(a, d.number, 1) % 100 = 0
                THEN CAST(hash(a, d.number, 2) % 1000000 AS DOUBLE) / 100 ELSE 0 END AS flow
        FROM range({accounts}) AS accounts (a) CROSS JOIN days AS d
    ),
    walked AS (
        SELECT *, round(1e6 * exp(sum(ln(growth)) OVER before_and_now)
            + coalesce(sum(flow) OVER before_and_now, 0), 2) AS market_value
        FROM steps
        WINDOW before_and_now AS (PARTITION BY account ORDER BY number ROWS UNBOUNDED PRECEDING)
    ),
    reported AS (
        SELECT *, lag(market_value) OVER (PARTITION BY account ORDER BY number) AS opening
        FROM walked
    )
    SELECT format('ACCOUNT-{{:07d}}', account) AS account_id, day AS as_of_date,
        CAST(market_value AS DECIMAL(18, 2)) AS market_value,
        CASE WHEN flow != 0 THEN CAST(flow AS DECIMAL(18, 2)) END AS external_flow,
        CASE WHEN flow != 0 THEN 'start_of_day' END AS flow_timing,
        CAST(market_value / (opening + flow) - 1 AS DECIMAL(9, 6)) AS reported_return,
        CASE WHEN opening IS NOT NULL THEN 'daily' END AS reported_period,
        'USD' AS currency
    FROM reported ORDER BY {order}
) TO '{path}' (FORMAT csv, HEADER true)
"""


def write_delivery(
    path: Path, *, accounts: int, first: date, days: int, is_by_account: bool = False
) -> int:
    """Write a file of `accounts` x `days` lines, sorted by day or by account; return its bytes."""
    calendar: list[date] = []
    day = first
    while len(calendar) < days:
        if day.weekday() <= FRIDAY:
            calendar.append(day)
        day += timedelta(days=1)
    with duckdb.connect() as engine:
        engine.execute("SET memory_limit = '4GB'")
        engine.execute(f"SET temp_directory = '{path}.spill'")
        engine.execute("CREATE TABLE days (number INTEGER, day DATE)")
        engine.executemany("INSERT INTO days VALUES (?, ?)", [*enumerate(calendar)])
        order = "account, day" if is_by_account else "day, account"
        engine.execute(_QUERY.format(accounts=accounts, order=order, path=path))
    return path.stat().st_size
