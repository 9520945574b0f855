"""Contracts judged by DuckDB: one aggregate pass, in the engine's memory limit.

Every expectation that counts rows is one aggregate of a single pass over the rows. A uniqueness
rule needs a grouping of its own, which spills; the columns of a table are known without reading.
Only rules that failed read the rows again, for ten of those that break them. The results are
those of Great Expectations (`suites.run_suite`), to which tests hold them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.quality.contracts import (
    MAX_SAMPLE,
    UNIQUE_TYPES,
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
from pipeline_platform.quality.predicates import condition_sql, is_translatable, quoted

_ROWS = "judged_rows"
_ALIASED = "judged"
_ALWAYS_COUNTED = ("expect_column_values_to_not_be_null", "expect_column_values_to_be_null")


def validate(contract: Contract, source: Source, *, now: datetime) -> list[ExpectationResult]:
    """Judge rows by all expectations of a contract; one result per expectation, in their order.

    A relation is read by its own connection, under that one's memory limit; files on S3 must come
    as one. `now` stands for `$today` and `$now`. Raises BadInputError for files that can't be
    read, InvalidRunbookError where a rule doesn't fit the type of its column.
    """
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = readable(contract, source, connection)
        try:
            return _Judgement(contract, rows, now).results()
        except (duckdb.BinderException, duckdb.ConversionException) as error:
            raise InvalidRunbookError(
                f"The contract of {contract.table} does not fit the types of its columns: "
                f"{str(error).splitlines()[0]}"
            ) from error


@dataclass(frozen=True)
class _Judgement:
    contract: Contract
    rows: duckdb.DuckDBPyRelation
    now: datetime

    def results(self) -> list[ExpectationResult]:
        """Judge every expectation."""
        counts = self._counts()
        return [self._result(one, counts) for one in self.contract.expectations]

    def _counts(self) -> dict[str, int]:
        """Return the value of every aggregate that a rule needs, from one pass."""
        wanted = {
            aggregate
            for one in self.contract.expectations
            if not one.unmeasurable(self.rows.columns)
            for aggregate in self._aggregates(one)
        }
        if not wanted:
            return {}
        ordered = sorted(wanted)
        values = self.rows.aggregate(", ".join(ordered)).fetchone() or ()
        return {name: value or 0 for name, value in zip(ordered, values, strict=True)}

    def _aggregates(self, one: Expectation) -> list[str]:
        """Return what a rule counts: the rows it is about, those it judges, those that break it."""
        counted = [f"count_if({condition_sql(one.when)})", f"count_if({_judged(one)})"]
        if is_translatable(one.type):
            counted.append(f"count_if(NOT {one.predicate_at(self.now)})")
        return counted

    def _result(self, one: Expectation, counts: dict[str, int]) -> ExpectationResult:
        unmeasurable = one.unmeasurable(self.rows.columns)
        if unmeasurable:
            return unmeasurable
        if one.type == "expect_table_columns_to_match_set":
            return self._columns_result(one)
        about, judged, *rest = (counts[aggregate] for aggregate in self._aggregates(one))
        if one.type == "expect_table_row_count_to_be_between":
            low, high = one.kwargs.get("min_value"), one.kwargs.get("max_value")
            passed = (low is None or about >= low) and (high is None or about <= high)
            return one.result(passed=passed, observed=str(about))
        failing = rest[0] if rest else self._doubles(one)
        mostly = one.kwargs.get("mostly", 1)
        passed = failing == 0 or (judged > 0 and (judged - failing) / judged >= mostly)
        return one.result(
            passed=passed,
            observed=f"{failing} of {about} rows break it",
            failing_count=failing,
            failing_sample=self._sample(one) if failing else (),
            row_count=about,
        )

    def _columns_result(self, one: Expectation) -> ExpectationResult:
        present, wanted = set(self.rows.columns), set(one.kwargs["column_set"])
        is_exact = one.kwargs.get("exact_match", True)
        return one.result(
            passed=present == wanted if is_exact else present >= wanted,
            observed=observed_columns(self.rows.columns),
        )

    def _doubles(self, one: Expectation) -> int:
        """Return how many rows share the columns of a uniqueness rule with another row."""
        found = self.rows.query(
            _ROWS,
            f"SELECT coalesce(sum(row_count), 0)::BIGINT FROM ({_groups(one, 'count(*)')})",
        ).fetchone()
        return int(found[0]) if found else 0

    def _sample(self, one: Expectation) -> Sequence[dict[str, str]]:
        columns = sample_columns(self.contract, one, self.rows.columns)
        selected = ", ".join(f"{_ALIASED}.{quoted(name)}" for name in columns)
        if one.type in UNIQUE_TYPES:
            same = " AND ".join(
                f"{_ALIASED}.{quoted(name)} IS NOT DISTINCT FROM doubled.{quoted(name)}"
                for name in one.judged_columns
            )
            source = (
                f"(FROM {_ROWS} WHERE {_judged(one)}) AS {_ALIASED} "
                f"SEMI JOIN ({_groups(one, '1')}) AS doubled ON {same}"
            )
        else:
            source = f"(FROM {_ROWS} WHERE NOT {one.predicate_at(self.now)}) AS {_ALIASED}"
        found = self.rows.query(
            _ROWS,
            f"SELECT {selected} FROM {source} "
            f"ORDER BY {sample_order(self.contract, self.rows.columns)} LIMIT {MAX_SAMPLE}",
        )
        return [shown(row) for row in found.to_arrow_table().to_pylist()]


def _groups(one: Expectation, count: str) -> str:
    """Return the query of all groups of more than one row that a uniqueness rule finds."""
    names = ", ".join(quoted(name) for name in one.judged_columns)
    return (
        f"SELECT {names}, {count} AS row_count FROM {_ROWS} WHERE {_judged(one)} "
        f"GROUP BY {names} HAVING count(*) > 1"
    )


def _judged(one: Expectation) -> str:
    """Return the condition of the rows that a rule judges: those with values, as a rule.

    Great Expectations asks `mostly` of these; a rule about presence judges every row.
    """
    given = [f"{quoted(name)} IS NOT NULL" for name in one.judged_columns]
    if one.type in _ALWAYS_COUNTED:
        given = []
    elif one.type == "expect_compound_columns_to_be_unique":
        ignored = one.kwargs.get("ignore_row_if", "all_values_are_missing")
        joined = {"all_values_are_missing": " OR ", "any_value_is_missing": " AND "}.get(ignored)
        given = [f"({joined.join(given)})"] if joined else []
    return " AND ".join([condition_sql(one.when), *given])
