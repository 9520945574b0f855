"""The types that a column of the lake may have, in Arrow, DuckDB, Spark and Iceberg."""

from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_platform.failures import PermanentError

if TYPE_CHECKING:
    from pyiceberg.types import IcebergType

_DUCKDB = {
    pa.string(): "VARCHAR",
    pa.date32(): "DATE",
    pa.bool_(): "BOOLEAN",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}


def duckdb_type(column: pa.Field) -> str:
    """Return the SQL type that holds a column exactly; PermanentError for an unknown type."""
    if pa.types.is_decimal128(column.type):
        return f"DECIMAL({column.type.precision},{column.type.scale})"
    try:
        return _DUCKDB[column.type]
    except KeyError:
        raise PermanentError(
            f"The column {column.name} has the type {column.type}, which a table of the lake "
            "can't have; use one of column_types.py."
        ) from None


def spark_type(column: pa.Field) -> str:
    """Return the Spark SQL type that holds a column exactly; PermanentError for an unknown type."""
    name = duckdb_type(column)
    renamed = {"VARCHAR": "STRING", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP"}
    return renamed.get(name, name)


def iceberg_type(column: pa.Field) -> "IcebergType":
    """Return the Iceberg type of a column; PermanentError for an unknown type.

    Iceberg has no 16-bit integer: its table says `int`, its files keep 16 bits.
    """
    from pyiceberg import types  # noqa: PLC0415 - slow import

    name = duckdb_type(column)
    if name.startswith("DECIMAL"):
        return types.DecimalType(column.type.precision, column.type.scale)
    kinds: dict[str, IcebergType] = {
        "VARCHAR": types.StringType(),
        "DATE": types.DateType(),
        "BOOLEAN": types.BooleanType(),
        "SMALLINT": types.IntegerType(),
        "INTEGER": types.IntegerType(),
        "BIGINT": types.LongType(),
        "DOUBLE": types.DoubleType(),
        "TIMESTAMP WITH TIME ZONE": types.TimestamptzType(),
    }
    return kinds[name]
