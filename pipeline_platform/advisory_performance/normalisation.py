"""Bronze to silver: delivered texts become typed, judged, versioned rows (SA-9, SA-20, SA-54).

Silver of a month is a pure function of all bronze rows of that month. Every record ends in
exactly one of three places: published (superseded versions included), quarantined with rule and
reason, or deduplicated because every part of it was known before (B-8).

One pass of DuckDB types and judges each record (`typed_records.py` by
`typing_rules.py` and `record_faults.py`); then
`corrections.py` settles what several records say about the same account and day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import duckdb
import pyarrow as pa

from pipeline_platform.advisory_performance import corrections
from pipeline_platform.advisory_performance.flow_corrections import version_flows
from pipeline_platform.advisory_performance.record_faults import record_faults
from pipeline_platform.advisory_performance.tables import (
    DELIVERED_FIELDS,
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.advisory_performance.typed_records import typed_records
from pipeline_platform.advisory_performance.vendors import VendorMapping
from pipeline_platform.quality.contracts import RowRule

_call_numbers = count(1)

_WORK_TABLES = ("repeated_valuation", "repeated_return", "repeated_flow", "file_flows", "flow_sets")


@dataclass(frozen=True)
class Normalised:
    """Silver candidates and what became of every record.

    `valuations`, `external_flows`, `reported_returns`: the silver tables' columns and types,
    unordered. `rejected`: file_sha256, file_name, vendor, line_number, partition_key, rule,
    reason, column_name, record (the delivered values as JSON). `counts`: file_sha256,
    partition_key, arrived, published, quarantined, deduplicated; arrived is the sum of the others.

    The relations read temporary tables of the connection, which are gone when it is closed.
    """

    valuations: duckdb.DuckDBPyRelation
    external_flows: duckdb.DuckDBPyRelation
    reported_returns: duckdb.DuckDBPyRelation
    rejected: duckdb.DuckDBPyRelation
    counts: duckdb.DuckDBPyRelation


def normalise(
    con: duckdb.DuckDBPyConnection,
    bronze: duckdb.DuckDBPyRelation,
    mappings: Mapping[str, VendorMapping],
    row_rules: Mapping[str, Sequence[RowRule]],
    *,
    account_owners: duckdb.DuckDBPyRelation | None = None,
) -> Normalised:
    """Type, judge and version all bronze rows of one or several months.

    `bronze`: columns of VENDOR_ROWS, a relation of `con` that can be read more than once; a line
    of a file is one row. `row_rules`: silver table name -> rules that one row can break.
    `account_owners`: account_id and vendor of accounts known before, which decides an account
    that two vendors deliver; without it the first good record in `bronze` does.

    Raises nothing for bad values: a record that can't be read is in `rejected`.
    """
    prefix = f"normalised_{next(_call_numbers)}"
    con.register(f"{prefix}_bronze", bronze)
    if account_owners is not None:
        con.register(f"{prefix}_owners", account_owners)
    _create_records(con, prefix, mappings, row_rules)
    corrections.reject_other_vendors(con, prefix, has_owners=account_owners is not None)
    corrections.reject_conflicts(con, prefix)
    corrections.version_parts(con, prefix)
    version_flows(con, prefix)
    corrections.find_repetitions(con, prefix)
    _create_rejected(con, prefix)
    _create_counts(con, prefix)
    for table in _WORK_TABLES:
        con.execute(f"DROP TABLE {prefix}_{table}")
    return Normalised(
        valuations=con.sql(_part_rows(prefix, VALUATIONS.schema, corrections.VALUATION)),
        external_flows=con.sql(_flow_rows(prefix)),
        reported_returns=con.sql(
            _part_rows(prefix, REPORTED_RETURNS.schema, corrections.REPORTED_RETURN)
        ),
        rejected=con.table(f"{prefix}_rejected"),
        counts=con.table(f"{prefix}_counts"),
    )


def _create_records(
    con: duckdb.DuckDBPyConnection,
    prefix: str,
    mappings: Mapping[str, VendorMapping],
    row_rules: Mapping[str, Sequence[RowRule]],
) -> None:
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_files AS
        SELECT
            *, row_number() OVER (ORDER BY received_at, file_sha256) AS file_rank,
            dense_rank() OVER (ORDER BY vendor) AS vendor_rank
        FROM (
            SELECT
                file_sha256, min(file_name) AS file_name, min(vendor) AS vendor,
                min(received_at) AS received_at
            FROM {prefix}_bronze GROUP BY file_sha256
        )
    """)
    present = con.execute(f"SELECT DISTINCT vendor FROM {prefix}_files ORDER BY 1").fetchall()
    used = [mappings[vendor] for (vendor,) in present if vendor in mappings]
    faults = record_faults(used, row_rules)
    con.execute(f"CREATE TEMP TABLE {prefix}_records AS {typed_records(prefix, used, faults)}")
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_rejections AS
        SELECT arrival, rule, column_name, reason FROM {prefix}_records WHERE rule IS NOT NULL
    """)
    con.execute(f"ALTER TABLE {prefix}_records DROP COLUMN reason")
    con.execute(f"""
        CREATE TEMP VIEW {prefix}_good AS
        SELECT * FROM {prefix}_records ANTI JOIN {prefix}_rejections USING (arrival)
    """)


def _create_rejected(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    fields = ", ".join(
        f"{field} := {field}" for field in ("record_type", *DELIVERED_FIELDS, "extra")
    )
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_rejected AS
        SELECT
            file_sha256, rejection.file_name, rejection.vendor, line_number,
            {_partition_key("as_of_month")} AS partition_key, rule,
            concat(reason, ' (', rejection.file_name, ', line ', line_number, ')') AS reason,
            column_name,
            CAST(json_merge_patch('{{}}', to_json(struct_pack({fields}))) AS VARCHAR) AS record
        FROM (
            SELECT file_sha256, line_number, file_name, vendor, rejections.*
            FROM {prefix}_rejections AS rejections
            JOIN {prefix}_records USING (arrival)
            JOIN {prefix}_files USING (file_rank)
        ) AS rejection
        JOIN {prefix}_bronze AS bronze USING (file_sha256, line_number)
    """)


def _create_counts(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    con.execute(f"""
        CREATE TEMP TABLE {prefix}_counts AS
        WITH fates AS (
            SELECT
                file_rank, as_of_month, count(*) AS arrived,
                count(rejection.arrival) AS quarantined, count(repetition.arrival) AS deduplicated
            FROM {prefix}_records AS records
            LEFT JOIN {prefix}_rejections AS rejection USING (arrival)
            LEFT JOIN {prefix}_deduplicated AS repetition USING (arrival)
            GROUP BY file_rank, as_of_month
        )
        SELECT
            file_sha256, {_partition_key("as_of_month")} AS partition_key, arrived,
            arrived - quarantined - deduplicated AS published, quarantined, deduplicated
        FROM fates JOIN {prefix}_files USING (file_rank)
    """)


def _partition_key(month: str) -> str:
    return f"coalesce(strftime({month}, '%Y-%m-%d'), '')"


def _part_rows(prefix: str, schema: pa.Schema, part: corrections.Part) -> str:
    """Return the query for a silver table whose rows are versions of a part of a record."""
    return f"""
        SELECT {_silver_columns(schema)}
        FROM (
            SELECT *, received_at AS known_from
            FROM {prefix}_good JOIN {prefix}_files USING (file_rank)
            LEFT JOIN {prefix}_versions_{part.name} USING (arrival)
            WHERE {part.is_present} AND coalesce(is_new, true)
        )
    """


def _flow_rows(prefix: str) -> str:
    """Return the query for the flows of all versions of all sets."""
    return f"""
        SELECT {_silver_columns(EXTERNAL_FLOWS.schema)}
        FROM (
            SELECT *, received_at AS known_from
            FROM {prefix}_good JOIN {prefix}_files USING (file_rank)
            JOIN {prefix}_published_flows USING (arrival)
        )
    """


def _silver_columns(schema: pa.Schema) -> str:
    sources = {"is_current": "known_to IS NULL"}
    return ", ".join(
        f"CAST({sources.get(field.name, field.name)} AS {_duckdb_type(field.type)}) AS {field.name}"
        for field in schema
    )


def _duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    names = {
        pa.string(): "VARCHAR",
        pa.date32(): "DATE",
        pa.int16(): "SMALLINT",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.bool_(): "BOOLEAN",
        pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
    }
    return names[kind]
