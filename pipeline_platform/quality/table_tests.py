"""A table's tests said as queries whose rows are faults, such as dbt's, on any rows (B-15)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from pipeline_platform.quality.predicates import quoted


@dataclass(frozen=True)
class TableTests:
    """Tests by name, each a query whose rows are faults; without any, nothing is asked.

    `relations` are what they read, by schema and name, each the query of its rows; `judged` is
    the one that the tests are about, whose rows are given to `failed`.
    """

    judged: tuple[str, str] = ("main", "judged")
    relations: Mapping[tuple[str, str], str] = field(default_factory=dict)
    queries: Mapping[str, str] = field(default_factory=dict)

    def open(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Make the relations that the tests read."""
        for place, query in self.relations.items():
            engine.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(place[0])}")
            _show(engine, place, query)

    def failed(
        self, engine: duckdb.DuckDBPyConnection, rows: str, names: Sequence[str]
    ) -> Iterator[str]:
        """Yield which of some tests fail on rows; a query that can't be run fails, as in dbt."""
        if not names:
            return
        _show(engine, self.judged, rows)
        for name in names:
            try:
                found = engine.sql(f"SELECT 1 FROM ({self.queries[name]}) LIMIT 1").fetchone()
            except duckdb.Error:
                yield name
            else:
                if found is not None:
                    yield name


def _show(engine: duckdb.DuckDBPyConnection, place: tuple[str, str], query: str) -> None:
    engine.execute(f"CREATE OR REPLACE VIEW {'.'.join(map(quoted, place))} AS {query}")
