"""A data contract: the expectations of one table, kept as data beside its pipeline.

The same file feeds two engines: `row_rules` gives the DuckDB predicates that split good rows from
quarantined ones, `validate` runs every expectation by Great Expectations on the staged files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeAlias

import duckdb
import pyarrow as pa
import yaml
from pydantic import Field, ValidationError, model_validator

from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.quality.predicates import (
    RowCondition,
    check_regex,
    is_translatable,
    predicate,
)
from pipeline_platform.quality.strict_yaml import read_yaml
from pipeline_platform.quality.thresholds import Dimension, Part, Severity

Source: TypeAlias = Sequence[str] | pa.Table | duckdb.DuckDBPyRelation
"""Rows to validate: paths of Parquet files, an Arrow table or a DuckDB relation."""

MOMENTS = ("$today", "$now")
"""What a table rule may name instead of a number: the day or instant of the validation."""


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
        if self.is_row_rule:
            predicate(self.type, self.kwargs, self.when)
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
        named = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        named += self.kwargs.get("column_list") or []
        return [*dict.fromkeys([c for c in named if c] + [c.column for c in self.when])]

    @property
    def limit(self) -> str:
        """What the rule allows, in words."""
        return _limit_in_words(self.type, self.kwargs)

    @property
    def is_per_row(self) -> bool:
        """Tell whether a DuckDB predicate can count the rows that keep it."""
        moments = set(map(str, self.kwargs.values())) & set(MOMENTS)
        return is_translatable(self.type) and not moments

    @property
    def predicate(self) -> str:
        """The DuckDB predicate, true where a row keeps the rule."""
        return predicate(self.type, self.kwargs, self.when)


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
        try:
            return cls.model_validate(read_yaml(path))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidRunbookError(f"{path} can't be read: {error}") from error
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidRunbookError(f"{path}: {field or 'contract'}: {first['msg']}.") from None

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
    is allowed; `failing_sample` holds at most ten breaches with the row's keys.
    """

    rule: str
    passed: bool
    observed: str | float | int | None
    limit: str
    failing_count: int
    failing_sample: tuple[Mapping[str, str], ...]
    severity: Severity
    is_blocking: bool
    dimension: Dimension


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


def validate(contract: Contract, source: Source, *, now: datetime) -> list[ExpectationResult]:
    """Run all expectations by Great Expectations; one result per expectation, in their order.

    The columns that the contract names are held in memory while it runs. Files on S3 must come
    as a relation of a connection that can read them. `now` stands for `$today` and `$now`.
    Great Expectations is imported on the first call (about 3 s), see `suites.start_import`.
    """
    from pipeline_platform.quality.suites import run_suite  # noqa: PLC0415 -- heavy import

    return run_suite(contract, source, now=now)


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
        text = "one of " + ", ".join(map(str, kwargs["value_set"]))
    elif "column_A" in kwargs:
        sign = "at or after" if kwargs.get("or_equal") else "after"
        text = f"{kwargs['column_A']} {sign} {kwargs['column_B']}"
    elif "column_set" in kwargs:
        text = "exactly the columns " + ", ".join(kwargs["column_set"])
    elif "column_list" in kwargs:
        text = f"one row per {', '.join(kwargs['column_list'])}"
    elif "regex" in kwargs:
        text = f"like {kwargs['regex']}"
    else:
        text = "given" if kind.endswith("not_be_null") else "not given"
    share = kwargs.get("mostly")
    return text if share is None else f"{text}, in at least {100 * share:g} percent of the rows"
