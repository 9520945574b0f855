"""The second engine of contracts: Great Expectations, for tests and for a second opinion.

No run needs it: `validation.validate` judges by DuckDB. Only this module imports it, and only
inside functions: the import takes seconds. One ephemeral context per process, nothing written.
"""

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import Any

import duckdb
import pyarrow as pa

from pipeline_platform.quality.contracts import (
    MAX_SAMPLE,
    Contract,
    Expectation,
    ExpectationResult,
    Source,
    observed_columns,
    readable,
    sample_columns,
    sample_order,
    shown,
)
from pipeline_platform.quality.predicates import RowCondition, python_regex, quoted

_lock = threading.Lock()


def run_suite(contract: Contract, source: Source, *, now: datetime) -> list[ExpectationResult]:
    """Judge rows by Great Expectations, on a pandas frame of the columns that the contract names.

    Same arguments, results and errors as `validation.validate`, except that the frame is held in
    memory, whatever its size.
    """
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        relation = readable(contract, source, connection)
        names, rows = relation.columns, _projected(relation, contract)
    unmeasurable = {one.rule: one.unmeasurable(names) for one in contract.expectations}
    with _lock:
        gx, batch_definition = _context()
        suite = gx.ExpectationSuite(
            name=contract.table,
            expectations=[
                _native(expectation, now)
                for expectation in contract.expectations
                if not unmeasurable[expectation.rule]
            ],
        )
        outcome = batch_definition.get_batch({"dataframe": _frame(names, rows)}).validate(
            suite,
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": MAX_SAMPLE},
        )
    by_rule = {result.expectation_config.meta["rule"]: result for result in outcome.results}
    return [
        unmeasurable[one.rule] or _result(contract, one, by_rule[one.rule], names, rows)
        for one in contract.expectations
    ]


def _modules() -> tuple[Any, Any, Any]:
    """Import what is used of Great Expectations."""
    with _without_spark():
        gx = importlib.import_module("great_expectations")
        registry = importlib.import_module("great_expectations.expectations.registry")
        conditions = importlib.import_module("great_expectations.expectations.row_conditions")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return gx, registry, conditions


@contextmanager
def _without_spark() -> Iterator[None]:
    """Import as if Spark were not installed: its client alone ends a process without SPARK_HOME."""
    hidden = {name: sys.modules[name] for name in [*sys.modules] if name.split(".")[0] == "pyspark"}
    for name in hidden:
        del sys.modules[name]
    sys.modules["pyspark"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pyspark"]
        sys.modules.update(hidden)


@functools.cache
def _context() -> tuple[Any, Any]:
    gx = _modules()[0]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    context.variables.data_docs_sites = {}
    asset = context.data_sources.add_pandas("staged").add_dataframe_asset("rows")
    return gx, asset.add_batch_definition_whole_dataframe("all")


def _native(expectation: Expectation, now: datetime) -> Any:
    """Return the expectation as an object of Great Expectations."""
    _, registry, conditions = _modules()
    kwargs: dict[str, Any] = {
        name: _native_value(value, now) for name, value in expectation.kwargs.items()
    }
    if "regex" in kwargs:
        kwargs["regex"] = python_regex(kwargs["regex"])
    if expectation.when:
        kwargs["row_condition"] = functools.reduce(
            lambda left, right: left & right,
            [_native_condition(conditions, condition) for condition in expectation.when],
        )
    kind = registry.get_expectation_impl(expectation.type)
    return kind(**kwargs, severity=expectation.severity, meta={"rule": expectation.rule})


def _native_value(value: object, now: datetime) -> object:
    if value == "$now":
        return now.replace(tzinfo=None)
    if value == "$today":
        return datetime.combine(now.date(), time())
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value


def _native_condition(conditions: Any, condition: RowCondition) -> Any:
    column = conditions.Column(condition.column)
    return {
        "equals": lambda: column == condition.value,
        "in": lambda: column.is_in(condition.value),
        "not_in": lambda: column.is_not_in(condition.value),
        "is_null": column.is_null,
        "is_not_null": column.is_not_null,
    }[condition.operator]()


def _projected(relation: duckdb.DuckDBPyRelation, contract: Contract) -> pa.Table:
    """Read the columns that the contract needs, in the order in which samples are taken."""
    present = [quoted(name) for name in contract.value_columns if name in relation.columns]
    if not present:
        return relation.project("1 AS no_column").to_arrow_table()
    ordered = relation.order(sample_order(contract, relation.columns))
    return ordered.project(", ".join(present)).to_arrow_table()


def _frame(names: list[str], rows: pa.Table) -> Any:
    """Return the rows in pandas with plain types, which are compared fastest.

    Decimals become doubles: a limit of a contract is at most 1e12, where two decimals of a money
    or return column that differ are different doubles. A column of which only the name matters
    is left empty.
    """
    columns = [
        _plain(rows[name]) if name in rows.column_names else pa.nulls(len(rows)) for name in names
    ]
    return pa.table(columns, names=names).to_pandas(date_as_object=False)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        instants = column.cast(pa.timestamp("us"))
        try:
            return instants.cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            return instants  # a day after 2262: compared value by value, slower
    return column


def _result(
    contract: Contract, expectation: Expectation, result: Any, names: list[str], rows: pa.Table
) -> ExpectationResult:
    failed = [one for one in _exceptions(result.exception_info) if one.get("raised_exception")]
    if failed:
        observed = f"not evaluated: {failed[0]['exception_message']}"
        return expectation.result(passed=False, observed=observed)
    values: Mapping[str, Any] = result.result
    count = int(values.get("unexpected_count") or 0)
    row_count = values.get("element_count")
    if "element_count" in values:
        observed = f"{count} of {values['element_count']} rows break it"
    elif isinstance(values.get("observed_value"), list):
        observed = observed_columns(values["observed_value"])
    else:
        observed = str(values.get("observed_value"))
    positions = pa.array(values.get("partial_unexpected_index_list") or [], pa.int64())
    sampled = rows.select(sample_columns(contract, expectation, names)).take(positions[:MAX_SAMPLE])
    return expectation.result(
        passed=bool(result.success),
        observed=observed,
        failing_count=count,
        failing_sample=[shown(row) for row in sampled.to_pylist()],
        row_count=None if row_count is None else int(row_count),
    )


def _exceptions(info: Any) -> list[Mapping[str, Any]]:
    """Return the exception records; there is one, or one per metric."""
    if not info:
        return []
    return [info] if "raised_exception" in info else list(info.values())
