"""Expectations of Great Expectations said as DuckDB predicates: one source of rules, two engines.

A predicate is never NULL and true where the row keeps the rule. As in Great Expectations, a
missing value keeps every rule but "is given", and a row that a condition leaves out keeps it too.
Regular expressions are limited to what Python and RE2 read alike.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from pydantic import model_validator

from pipeline_platform.quality.thresholds import Part

# Outside of brackets a regular expression may only use what both engines read alike: no dot (it
# stops at other characters), no class such as \d (Unicode or not), no group with a flag.
_BRACKETS = re.compile(r"\[\^?\]?[^\]]*\]")
_ESCAPED = re.compile(r"\\.")
_GROUP = re.compile(r"\([^()]*\)")
_ESCAPED_LETTER = re.compile(r"\\[A-Za-z0-9]")


class RowCondition(Part):
    """Which rows a rule is about: a column equals, is among, is not among, or is (not) null."""

    column: str
    operator: Literal["equals", "in", "not_in", "is_null", "is_not_null"]
    value: bool | int | float | str | list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: object) -> object:
        """Accept the short form of the files, e.g. `{column: timing, equals: weighted}`."""
        if not isinstance(given, dict) or "operator" in given:
            return given
        operators = [key for key in given if key != "column"]
        if len(operators) != 1:
            raise ValueError("a condition has one column and one of equals, in, not_in, is_null")
        operator, value = operators[0], given[operators[0]]
        if operator == "is_null":
            operator, value = ("is_null" if value else "is_not_null"), None
        return {"column": given.get("column"), "operator": operator, "value": value}


def literal(value: object) -> str:
    """Return a value as a DuckDB literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.isoformat()}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return "'" + str(value).replace("'", "''") + "'"


def quoted(column: str) -> str:
    """Return a column name as a DuckDB identifier."""
    return '"' + column.replace('"', '""') + '"'


def condition_sql(conditions: Sequence[RowCondition]) -> str:
    """Return the DuckDB condition, never NULL, for rows that all of the conditions name."""
    if not conditions:
        return "true"
    return " AND ".join(f"({_one_condition(condition)})" for condition in conditions)


def is_translatable(kind: str) -> bool:
    """Tell whether an expectation type judges single rows and can be said as a predicate."""
    return kind in _TRANSLATIONS


def predicate(kind: str, kwargs: Mapping[str, Any], conditions: Sequence[RowCondition]) -> str:
    """Return the DuckDB predicate of an expectation; true where a row keeps it.

    Raises ValueError when the type or a regular expression can't be translated exactly.
    """
    if kind not in _TRANSLATIONS:
        raise ValueError(f"{kind} judges a whole table, so it can't be a row rule")
    keeps = _TRANSLATIONS[kind](kwargs)
    if not conditions:
        return keeps
    return f"(NOT ({condition_sql(conditions)}) OR {keeps})"


def check_regex(regex: str) -> None:
    """Raise ValueError for a regular expression that Python and RE2 might read differently."""
    if not (regex.startswith("^") and regex.endswith("$")):
        raise ValueError(f"the regular expression {regex} must begin with ^ and end with $")
    outside = _BRACKETS.sub("", regex[1:-1])
    if _ESCAPED_LETTER.search(regex) or "." in outside.replace("\\.", ""):
        raise ValueError(f"the regular expression {regex} may name characters only in brackets")
    if "(?" in outside or "$" in outside or "^" in outside:
        raise ValueError(f"the regular expression {regex} may only use plain groups and anchors")
    if "|" in _outside_of_groups(outside):
        raise ValueError(f"the regular expression {regex} may have alternatives in groups only")
    re.compile(regex)


def python_regex(regex: str) -> str:
    r"""Return the same expression for Python, whose `$` would also match before a last newline."""
    return regex[:-1] + r"\Z"


def _outside_of_groups(expression: str) -> str:
    """Return what stands outside of all groups."""
    expression = _ESCAPED.sub("", expression)
    while (shorter := _GROUP.sub("", expression)) != expression:
        expression = shorter
    return expression


def _one_condition(condition: RowCondition) -> str:
    column = quoted(condition.column)
    value = condition.value
    listed = ", ".join(map(literal, value)) if isinstance(value, list) else literal(value)
    return {
        "equals": f"coalesce({column} = {listed}, false)",
        "in": f"coalesce({column} IN ({listed}), false)",
        "not_in": f"coalesce({column} NOT IN ({listed}), true)",
        "is_null": f"{column} IS NULL",
        "is_not_null": f"{column} IS NOT NULL",
    }[condition.operator]


def _given(kwargs: Mapping[str, Any]) -> str:
    return f"({quoted(kwargs['column'])} IS NOT NULL)"


def _absent(kwargs: Mapping[str, Any]) -> str:
    return f"({quoted(kwargs['column'])} IS NULL)"


def _or_null(column: str, test: str) -> str:
    return f"({column} IS NULL OR coalesce({test}, false))"


def _limits(value: str, kwargs: Mapping[str, Any]) -> str:
    tests = []
    if kwargs.get("min_value") is not None:
        sign = ">" if kwargs.get("strict_min") else ">="
        tests.append(f"{value} {sign} {literal(kwargs['min_value'])}")
    if kwargs.get("max_value") is not None:
        sign = "<" if kwargs.get("strict_max") else "<="
        tests.append(f"{value} {sign} {literal(kwargs['max_value'])}")
    if not tests:
        raise ValueError("min_value or max_value must be given")
    return " AND ".join(tests)


def _between(kwargs: Mapping[str, Any]) -> str:
    column = quoted(kwargs["column"])
    return _or_null(column, _limits(column, kwargs))


def _lengths(kwargs: Mapping[str, Any]) -> str:
    column = quoted(kwargs["column"])
    return _or_null(column, _limits(f"length({column})", kwargs))


def _in_set(kwargs: Mapping[str, Any]) -> str:
    column = quoted(kwargs["column"])
    values = ", ".join(literal(value) for value in kwargs["value_set"])
    return _or_null(column, f"{column} IN ({values})")


def _not_in_set(kwargs: Mapping[str, Any]) -> str:
    column = quoted(kwargs["column"])
    values = ", ".join(literal(value) for value in kwargs["value_set"])
    return _or_null(column, f"{column} NOT IN ({values})")


def _regex(kwargs: Mapping[str, Any]) -> str:
    check_regex(kwargs["regex"])
    column = quoted(kwargs["column"])
    # With both anchors it is the same, and only this one judges a repeated value once.
    return _or_null(column, f"regexp_full_match({column}, {literal(kwargs['regex'])})")


def _pair(kwargs: Mapping[str, Any]) -> str:
    if kwargs.get("ignore_row_if") != "either_value_is_missing":
        raise ValueError("a pair rule needs ignore_row_if: either_value_is_missing")
    first, second = quoted(kwargs["column_A"]), quoted(kwargs["column_B"])
    sign = ">=" if kwargs.get("or_equal") else ">"
    return f"({first} IS NULL OR {second} IS NULL OR coalesce({first} {sign} {second}, false))"


_TRANSLATIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "expect_column_values_to_not_be_null": _given,
    "expect_column_values_to_be_null": _absent,
    "expect_column_values_to_be_between": _between,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_match_regex": _regex,
    "expect_column_pair_values_a_to_be_greater_than_b": _pair,
}
