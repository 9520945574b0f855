"""DuckDB relations as names and columns that a query can use."""

import pyarrow as pa

from pipeline_platform.lake.relations import as_view, unique_name

__all__ = ["as_view", "duckdb_type", "literal", "typed_columns", "unique_name"]


def literal(text: str) -> str:
    """Return the text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def duckdb_type(kind: pa.DataType) -> str:
    """Return DuckDB's name of an Arrow type that our tables use.

    Raises NotImplementedError for a type that no table of the lake has.
    """
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    names = {
        pa.string(): "VARCHAR",
        pa.date32(): "DATE",
        pa.int16(): "SMALLINT",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
    }
    if kind not in names:
        raise NotImplementedError(f"No DuckDB type is known for the Arrow type {kind}.")
    return names[kind]


def typed_columns(schema: pa.Schema, defaults: frozenset[str] = frozenset()) -> str:
    """Return a select list that gives every column of the schema its exact type, in order.

    Columns named in `defaults` are filled with NULL.
    """
    return ", ".join(
        f"CAST({'NULL' if column.name in defaults else column.name} "
        f"AS {duckdb_type(column.type)}) AS {column.name}"
        for column in schema
    )
