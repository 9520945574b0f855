"""A data contract: the expectations of one table, kept as data beside its pipeline.

The same file feeds two engines: DuckDB, which splits good rows from quarantined ones (`row_rules`)
and judges staged tables (`validation.validate`), and Great Expectations, whose words the file uses
and which gives a second opinion (`suites.run_suite`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self, TypeAlias

import duckdb
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline_platform.failures import BadInputError
from pipeline_platform.quality.predicates import (
    RowCondition,
    check_regex,
    is_translatable,
    predicate,
    quoted,
)
from pipeline_platform.quality.strict_yaml import read_model
from pipeline_platform.quality.thresholds import Dimension, Part, Severity

Source: TypeAlias = Sequence[str] | pa.Table | duckdb.DuckDBPyRelation
"""Rows to validate: paths of Parquet files, an Arrow table or a DuckDB relation."""

MOMENTS = ("$today", "$now")
"""What a table rule may name instead of a number: the day or instant of the validation."""
UNIQUE_TYPES = ("expect_compound_columns_to_be_unique", "expect_column_values_to_be_unique")
TABLE_TYPES = ("expect_table_row_count_to_be_between", "expect_table_columns_to_match_set")
MAX_SAMPLE = 10
MAX_SHOWN_CHARACTERS = 200


class Expectation(Part):
    """One expectation: its type and arguments in Great Expectations' words, and what it means.

    `when` limits it to some rows. A row rule judges single rows, and a row that breaks it goes
    to quarantine; another rule judges the staged table as a whole. A failed blocking rule stops
    the publication: a row rule always blocks, for its breaches should be gone by then.
    """

    type: str = Field(pattern=r"^expect_[a-z_]+$")
    kwargs: dict[str, Any] = Field(default_factory=dict)
    when: list[RowCondition] = Field(default_factory=list)
    rule: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str = Field(min_length=1)
    severity: Severity
    dimension: Dimension
    requirements: list[str] = Field(min_length=1)
    is_row_rule: bool
    is_blocking: bool

    @model_validator(mode="before")
    @classmethod
    def _flatten_meta(cls, given: object) -> object:
        """Accept Great Expectations' own shape, in which our words stand under `meta`."""
        if isinstance(given, dict) and isinstance(given.get("meta"), dict):
            rest = {key: value for key, value in given.items() if key != "meta"}
            return {**rest, **given["meta"]}
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "regex" in self.kwargs:
            check_regex(self.kwargs["regex"])
        if is_translatable(self.type):
            predicate(self.type, self.kwargs, self.when)
        elif self.type not in (*UNIQUE_TYPES, *TABLE_TYPES):
            raise ValueError(
                f"{self.type} is not known; see quality/predicates.py for those that are"
            )
        if self.is_row_rule:
            if not is_translatable(self.type):
                raise ValueError(f"{self.type} judges a whole table, so it can't be a row rule")
            if "mostly" in self.kwargs or set(map(str, self.kwargs.values())) & set(MOMENTS):
                raise ValueError("a row rule can't use mostly, $today or $now")
            if not (self.is_blocking and self.severity == "critical"):
                raise ValueError("a row rule is critical and blocking: what breaks it is held back")
        if self.is_blocking and self.severity != "critical":
            raise ValueError("only a critical rule may block")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns that the rule reads."""
        return [*dict.fromkeys([*self.judged_columns, *(one.column for one in self.when)])]

    @property
    def judged_columns(self) -> list[str]:
        """The columns whose values the rule is about, without those of its conditions."""
        named = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        named += self.kwargs.get("column_list") or []
        return [name for name in named if name]

    @property
    def limit(self) -> str:
        """What the rule allows, in words."""
        return _limit_in_words(self.type, self.kwargs)

    @property
    def is_per_row(self) -> bool:
        """Tell whether a DuckDB predicate can count the rows that keep it, at any time."""
        moments = set(map(str, self.kwargs.values())) & set(MOMENTS)
        return is_translatable(self.type) and not moments

    @property
    def predicate(self) -> str:
        """The DuckDB predicate, true where a row keeps the rule."""
        return predicate(self.type, self.kwargs, self.when)

    def predicate_at(self, now: datetime) -> str:
        """Return the predicate of a rule that may name the day or the instant of validation."""
        moments = {"$today": now.date(), "$now": now}
        kwargs = {
            name: moments.get(value, value) if isinstance(value, str) else value
            for name, value in self.kwargs.items()
        }
        return predicate(self.type, kwargs, self.when)

    def result(
        self,
        *,
        passed: bool,
        observed: str,
        failing_count: int = 0,
        failing_sample: Sequence[Mapping[str, str]] = (),
        row_count: int | None = None,
    ) -> "ExpectationResult":
        """Return how this expectation came out."""
        return ExpectationResult(
            rule=self.rule,
            passed=passed,
            observed=observed,
            limit=self.limit,
            failing_count=failing_count,
            failing_sample=tuple(failing_sample),
            severity=self.severity,
            is_blocking=self.is_blocking,
            dimension=self.dimension,
            row_count=row_count,
        )

    def unmeasurable(self, columns: Sequence[str]) -> "ExpectationResult | None":
        """Return the failure of a rule about a column that the rows lack, if there is one."""
        missing = [name for name in self.columns if name not in columns]
        if not missing:
            return None
        return self.result(passed=False, observed=f"not evaluated: no column {missing[0]}")


class Contract(Part):
    """The expectations of one table; `key_columns` identify a row in failing samples."""

    table: str
    asset: str
    description: str
    key_columns: list[str] = Field(min_length=1)
    expectations: list[Expectation] = Field(min_length=1)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a contract; raise InvalidRunbookError that names the file and the field."""
        return read_model(path, cls, "contract")

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        rules = [expectation.rule for expectation in self.expectations]
        doubles = sorted({rule for rule in rules if rules.count(rule) > 1})
        if doubles:
            raise ValueError(f"the rule {doubles[0]} stands more than once")
        return self

    @property
    def value_columns(self) -> list[str]:
        """The columns whose values a rule or a failing sample needs."""
        named = [*self.key_columns]
        for expectation in self.expectations:
            named += expectation.columns
        return [*dict.fromkeys(named)]

    @property
    def columns(self) -> list[str]:
        """All columns that the contract names, those of `column_set` included."""
        sets = [name for e in self.expectations for name in e.kwargs.get("column_set", [])]
        return [*dict.fromkeys([*self.value_columns, *sets])]


@dataclass(frozen=True)
class RowRule:
    """A rule for one row: `predicate` is DuckDB SQL, never NULL, true where the row keeps it.

    `column` is the one that the rule is about, `reason` a sentence without the value.
    """

    name: str
    column: str
    predicate: str
    reason: str


@dataclass(frozen=True)
class ExpectationResult:
    """How one expectation came out.

    `observed` is the value, or for rules about rows how many break it of how many; `limit` what
    is allowed; `failing_sample` holds at most ten breaches with the row's keys. `row_count` is how
    many rows a rule about rows looked at, None for any other rule.
    """

    rule: str
    passed: bool
    observed: str
    limit: str
    failing_count: int
    failing_sample: tuple[Mapping[str, str], ...]
    severity: Severity
    is_blocking: bool
    dimension: Dimension
    row_count: int | None = None


def row_rules(contract: Contract) -> list[RowRule]:
    """Return the contract's row rules as DuckDB predicates over the table's own columns.

    They run on candidates for the table; the columns of versions (`known_to`, `is_current`) and
    provenance are not needed.
    """
    return [
        RowRule(
            expectation.rule,
            expectation.columns[0],
            expectation.predicate,
            f"{expectation.columns[0]}: {expectation.description}",
        )
        for expectation in contract.expectations
        if expectation.is_row_rule
    ]


def readable(
    contract: Contract, source: Source, connection: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    """Return the rows of a source as a relation, of `connection` unless they are one already.

    Raises BadInputError for files that can't be read.
    """
    if isinstance(source, duckdb.DuckDBPyRelation):
        return source
    if isinstance(source, pa.Table):
        return connection.from_arrow(source)
    if not source:
        nothing = ", ".join(f"NULL AS {quoted(name)}" for name in contract.columns)
        return connection.sql(f"SELECT {nothing} WHERE false")
    try:
        return connection.read_parquet([*source], hive_partitioning=False)
    except duckdb.Error as error:
        raise BadInputError(
            f"The staged files of {contract.table} can't be read for validation: {error}"
        ) from error


def sample_order(contract: Contract, columns: Sequence[str]) -> str:
    """Return the ORDER BY by which failing samples are taken: the row's keys, then its values."""
    return ", ".join(quoted(name) for name in contract.value_columns if name in columns)


def sample_columns(
    contract: Contract, expectation: Expectation, columns: Sequence[str]
) -> list[str]:
    """Return the columns of a failing sample: what the rule judges, and the keys of the row."""
    wanted = [*expectation.judged_columns, *contract.key_columns]
    return [name for name in dict.fromkeys(wanted) if name in columns]


def shown(row: Mapping[str, object]) -> dict[str, str]:
    """Return a row of a failing sample as texts; a missing value is `null`."""
    return {name: _shown(value) for name, value in row.items()}


def observed_columns(names: Sequence[str]) -> str:
    """Return the columns of a table as a result shows them."""
    return _shown(", ".join(sorted(names)))


def _shown(value: object) -> str:
    if value is None:
        text = "null"
    elif isinstance(value, Decimal):
        text = f"{value.normalize():f}"
    elif isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(" ")
    elif isinstance(value, date):
        text = value.isoformat()
    else:
        text = str(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


def _limit_in_words(kind: str, kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is not None or high is not None:
        words = []
        if low is not None:
            words.append(f"{'more than' if kwargs.get('strict_min') else 'at least'} {low}")
        if high is not None:
            words.append(f"{'less than' if kwargs.get('strict_max') else 'at most'} {high}")
        text = " and ".join(words)
    elif "value_set" in kwargs:
        listed = ", ".join(map(str, kwargs["value_set"]))
        text = f"{'none' if 'not_be_in_set' in kind else 'one'} of {listed}"
    elif "column_A" in kwargs:
        sign = "at or after" if kwargs.get("or_equal") else "after"
        text = f"{kwargs['column_A']} {sign} {kwargs['column_B']}"
    elif "column_set" in kwargs:
        text = "exactly the columns " + ", ".join(kwargs["column_set"])
    elif "column_list" in kwargs:
        text = f"one row per {', '.join(kwargs['column_list'])}"
    elif kind == "expect_column_values_to_be_unique":
        text = f"one row per {kwargs['column']}"
    elif "regex" in kwargs:
        text = f"like {kwargs['regex']}"
    else:
        text = "given" if kind.endswith("not_be_null") else "not given"
    share = kwargs.get("mostly")
    return text if share is None else f"{text}, in at least {100 * share:g} percent of the rows"
