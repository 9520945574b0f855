"""Accounts cut into ranges whose rows fit into memory, so that no month is too large.

An account's rows are judged and measured without those of any other account, so a month whose
rows don't fit is worked on range by range of account numbers and published as one.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from pipeline_platform.advisory_performance.relations import as_view, literal
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.memory import release_memory
from pipeline_platform.settings import Settings


@dataclass(frozen=True)
class AccountRange:
    """Accounts from `first` (included) to `end` (not included), by their bytes; None = open."""

    first: str | None = None
    end: str | None = None

    @property
    def condition(self) -> str:
        """The same as an SQL condition on account_id."""
        parts = [f"account_id >= {literal(self.first)}"] if self.first is not None else []
        parts += [f"account_id < {literal(self.end)}"] if self.end is not None else []
        return " AND ".join(parts) or "true"


ALL_ACCOUNTS = AccountRange()
NO_ACCOUNT = AccountRange("", "")
BYTES_PER_ROW = 8_000
"""Memory limit that one row of an account-day needs while it is worked on beside others."""


def ranges_of(
    run: RunContext, table: LakeTable, months: Sequence[date], bytes_per_row: int = BYTES_PER_ROW
) -> list[AccountRange]:
    """Cut the accounts of some months so that the rows of each range fit under the memory limit."""
    with run.services.connect() as engine:
        rows = run.services.lake.relation(engine, table, months=(months[0], months[-1]))
        return account_ranges(engine, rows, rows_at_once(run.services.settings, bytes_per_row))


def each_range(
    run: RunContext, table: LakeTable, months: Sequence[date], bytes_per_row: int = BYTES_PER_ROW
) -> Iterator[tuple[duckdb.DuckDBPyConnection, AccountRange]]:
    """Go through the ranges of `ranges_of` as `each_of` does."""
    yield from each_of(run, ranges_of(run, table, months, bytes_per_row))


def each_of(
    run: RunContext, ranges: Iterable[AccountRange]
) -> Iterator[tuple[duckdb.DuckDBPyConnection, AccountRange]]:
    """Go through ranges, giving freed memory back before and after each.

    Each has an engine of its own, which is closed after it: only then DuckDB gives everything back
    (measured: up to 90 MB that it no longer counted).
    """
    for accounts in ranges:
        release_memory()
        with run.services.connect() as engine:
            yield engine, accounts
    release_memory()


def rows_at_once(settings: Settings, bytes_per_row: int) -> int:
    """Return how many rows may be worked on at once."""
    return settings.memory_bytes // bytes_per_row


def account_ranges(
    engine: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, max_rows: int
) -> list[AccountRange]:
    """Cut all accounts into ranges of at most `max_rows` rows each, at least one account each.

    `rows` has a column account_id without nulls. The ranges are in order and leave no account
    out, also none that `rows` does not hold.
    """
    counted = rows.aggregate("account_id, count(*) AS row_count", "account_id")
    found = engine.execute(f"""
        SELECT min(account_id) FROM (
            SELECT account_id, (sum(row_count) OVER (ORDER BY account_id ROWS UNBOUNDED PRECEDING)
                - 1) // {max_rows} AS part
            FROM {as_view(counted, "accounts_counted")}
        ) GROUP BY part ORDER BY part
    """).fetchall()
    limits = [None, *(first for (first,) in found[1:]), None]
    return [AccountRange(*pair) for pair in itertools.pairwise(limits)]
