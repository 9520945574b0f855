"""The copy of a table's rows that mutations damage (B-15)."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.predicates import quoted

COPY = "mutated_copy"
"""The table that mutations read: the rows of a table, numbered from 0 in `PLACE`."""
PLACE = "mutation_place"


def unchanged(table: LakeTable) -> str:
    """Return the query of the copy as it is."""
    return f"SELECT {', '.join(map(quoted, table.schema.names))} FROM {COPY}"


def copy_rows(
    engine: duckdb.DuckDBPyConnection,
    table: LakeTable,
    contract: Contract,
    rows: duckdb.DuckDBPyRelation,
    parts: int,
) -> int:
    """Copy one of so many parts of the rows, in the order of their keys, to `COPY`; count them.

    Rows with the same first key, such as an account, are all in it or none is.
    """
    key = group_column(table, contract)
    order = ", ".join(quoted(name) for name in contract.key_columns)
    rows.create_view("rows_to_copy")
    engine.execute(
        f"CREATE TEMP TABLE {COPY} AS SELECT *, row_number() OVER (ORDER BY {order}) - 1 AS {PLACE}"
        f" FROM rows_to_copy AS one WHERE hash({quoted(key) if key else 'one'}) % {parts} = 0"
    )
    counted = engine.sql(f"SELECT count(*) FROM {COPY}").fetchone()
    return int(counted[0]) if counted else 0


def always_given(engine: duckdb.DuckDBPyConnection, table: LakeTable) -> set[str]:
    """Return the columns that have a value in every row of the copy; none of an empty copy."""
    counts = ", ".join(f"count({quoted(name)})" for name in table.schema.names)
    total, *given = engine.sql(f"SELECT count(*), {counts} FROM {COPY}").fetchall()[0]
    named = zip(table.schema.names, given, strict=True)
    return {name for name, count in named if total and count == total}


def digest(engine: duckdb.DuckDBPyConnection, query: str) -> tuple[object, ...]:
    """Return what tells a query's rows from others, whatever their order."""
    found = engine.sql(
        f"SELECT count(*), sum(hash(one)), bit_xor(hash(one)) FROM ({query}) AS one"
    ).fetchone()
    return found or ()


def group_column(table: LakeTable, contract: Contract) -> str | None:
    """Return the first key column that is no day: rows with one value of it belong together."""
    keys: Sequence[str] = [name for name in contract.key_columns if name in table.schema.names]
    return next((name for name in keys if pa.types.is_string(table.schema.field(name).type)), None)
