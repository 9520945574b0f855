"""Contracts run by Great Expectations: one ephemeral context per process, nothing written.

Only this module imports Great Expectations, and only inside functions: the import takes seconds,
a validation much less. `start_import` hides the import behind work that releases the interpreter,
such as staging by DuckDB.
"""

import functools
import importlib
import logging
import threading
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import duckdb
import pyarrow as pa

from pipeline_platform.failures import BadInputError
from pipeline_platform.quality.contracts import (
    Contract,
    Expectation,
    ExpectationResult,
    Source,
)
from pipeline_platform.quality.predicates import RowCondition, python_regex, quoted

MAX_SAMPLE = 10
MAX_SHOWN_CHARACTERS = 200
_lock = threading.Lock()
_import_lock = threading.Lock()


def start_import() -> threading.Thread:
    """Begin to import Great Expectations in the background; `validate` waits for it if need be."""
    thread = threading.Thread(target=_modules, name="great-expectations-import", daemon=True)
    thread.start()
    return thread


def run_suite(contract: Contract, source: Source, *, now: datetime) -> list[ExpectationResult]:
    """Validate a source; see `contracts.validate`. Raises BadInputError if it can't be read."""
    frame = _frame(contract, source)
    with _lock:
        gx, batch_definition = _context()
        suite = gx.ExpectationSuite(
            name=contract.table,
            expectations=[_native(expectation, now) for expectation in contract.expectations],
        )
        outcome = batch_definition.get_batch({"dataframe": frame}).validate(
            suite,
            result_format={
                "result_format": "SUMMARY",
                "partial_unexpected_count": MAX_SAMPLE,
                "unexpected_index_column_names": [
                    name for name in contract.key_columns if name in frame.columns
                ],
            },
        )
    by_rule = {result.expectation_config.meta["rule"]: result for result in outcome.results}
    return [_result(one, by_rule[one.rule]) for one in contract.expectations]


def _modules() -> tuple[Any, Any, Any]:
    """Import what is used of Great Expectations; a second caller waits for the first."""
    with _import_lock:
        gx = importlib.import_module("great_expectations")
        registry = importlib.import_module("great_expectations.expectations.registry")
        conditions = importlib.import_module("great_expectations.expectations.row_conditions")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return gx, registry, conditions


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


def _frame(contract: Contract, source: Source) -> Any:
    """Read the contract's columns into pandas with plain types, which are compared fastest.

    Decimals become doubles: a limit of a contract is at most 1e12, where two decimals of a money
    or return column that differ are different doubles. A column of which only the name matters
    is left empty.
    """
    if isinstance(source, duckdb.DuckDBPyRelation):
        names, rows = source.columns, _projected(source, contract)
    elif isinstance(source, pa.Table):
        names, rows = source.column_names, source
    elif source:
        names, rows = _read_files(contract, [*source])
    else:
        names, rows = contract.columns, pa.table({})
    valued = set(contract.value_columns) & set(rows.column_names)
    columns = [_plain(rows[name]) if name in valued else pa.nulls(len(rows)) for name in names]
    return pa.table(columns, names=names).to_pandas(date_as_object=False)


def _read_files(contract: Contract, files: list[str]) -> tuple[list[str], pa.Table]:
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.read_parquet(files)
        return relation.columns, _projected(relation, contract)
    except duckdb.Error as error:
        raise BadInputError(
            f"The staged files of {contract.table} can't be read for validation: {error}"
        ) from error
    finally:
        connection.close()


def _projected(relation: duckdb.DuckDBPyRelation, contract: Contract) -> pa.Table:
    present = [quoted(name) for name in contract.value_columns if name in relation.columns]
    return relation.project(", ".join(present) or "1 AS no_column").to_arrow_table()


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


def _result(expectation: Expectation, result: Any) -> ExpectationResult:
    failed = [one for one in _exceptions(result.exception_info) if one.get("raised_exception")]
    if failed:
        observed: str | float | int | None = f"not evaluated: {failed[0]['exception_message']}"
        return _made(expectation, False, observed, 0, ())
    values: Mapping[str, Any] = result.result
    count = int(values.get("unexpected_count") or 0)
    if "element_count" in values:
        observed = f"{count} of {values['element_count']} rows break it"
    else:
        observed = _shown(values.get("observed_value"))
    sample = values.get("partial_unexpected_index_list") or [
        {"value": value} for value in values.get("partial_unexpected_list") or []
    ]
    shown = tuple({key: _shown(value) for key, value in one.items()} for one in sample[:MAX_SAMPLE])
    return _made(expectation, bool(result.success), observed, count, shown)


def _made(
    expectation: Expectation,
    passed: bool,
    observed: str | float | int | None,
    count: int,
    sample: tuple[Mapping[str, str], ...],
) -> ExpectationResult:
    return ExpectationResult(
        rule=expectation.rule,
        passed=passed,
        observed=observed,
        limit=expectation.limit,
        failing_count=count,
        failing_sample=sample,
        severity=expectation.severity,
        is_blocking=expectation.is_blocking,
        dimension=expectation.dimension,
    )


def _exceptions(info: Any) -> list[Mapping[str, Any]]:
    """Return the exception records; there is one, or one per metric."""
    if not info:
        return []
    return [info] if "raised_exception" in info else list(info.values())


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"
