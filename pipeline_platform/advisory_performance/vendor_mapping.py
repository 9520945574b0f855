"""The model of a vendor mapping file: what its columns are and what its values mean (SA-9)."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline_platform.advisory_performance.tables import BASES, DELIVERED_FIELDS, PERIODS
from pipeline_platform.advisory_performance.vendor_formats import (
    Delimited,
    FileName,
    FixedWidth,
    FrozenModel,
    JsonLines,
    RecordType,
)

CodedField = Literal[
    "flow_timing", "reported_period", "reported_basis", "currency", "account_class"
]
FLOW_TIMINGS = ("start_of_day", "end_of_day", "weighted")
FLOW_INDICATOR = "flow_indicator"
"""Name of the column that says in or out; bronze keeps its value in `extra` under this key."""

CANONICAL_CODES: Mapping[str, tuple[str, ...] | None] = {
    "flow_timing": FLOW_TIMINGS,
    "reported_period": PERIODS,
    "reported_basis": BASES,
    "currency": None,
    "account_class": None,
}
"""Closed sets of canonical values; None where any text is allowed."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class RecordTypeColumn(FrozenModel):
    """The column whose value says what a record is, and what each value means."""

    column: str
    values: dict[str, RecordType] = Field(min_length=1)


class Numbers(FrozenModel):
    """How numbers are written; the sign is a leading `-` or `+`."""

    decimal_separator: Literal[".", ","] = "."
    thousands_separator: Literal[",", ".", "'", " ", "\u00a0"] | None = None

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.decimal_separator == self.thousands_separator:
            raise ValueError("decimal and thousands separator must differ")
        return self

    def plain(self, text: str) -> str | None:
        """Return the number as `[+-]digits[.digits]`, or None if the vendor would not write it so.

        Thousands separators must stand between groups of three digits.
        """
        found = re.fullmatch(self.shape, text.strip())
        if not found:
            return None
        plain = found[0]
        if self.thousands_separator:
            plain = plain.replace(self.thousands_separator, "")
        return plain.replace(self.decimal_separator, ".")

    @cached_property
    def shape(self) -> str:
        """Regular expression (Python and RE2) of a whole number as the vendor writes it."""
        whole = "[0-9]+"
        if self.thousands_separator:
            whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(self.thousands_separator)}[0-9]{{3}})+|[0-9]+)"
        mark = re.escape(self.decimal_separator)
        return rf"[+-]?(?:{whole}(?:{mark}[0-9]+)?|{mark}[0-9]+)"


class FlowIndicator(FrozenModel):
    """Values of the `flow_indicator` column; the sign of the amount itself is then ignored."""

    inflow: tuple[str, ...] = Field(min_length=1)
    outflow: tuple[str, ...] = Field(min_length=1)


class FlowSign(FrozenModel):
    """What a positive `external_flow` means, or the indicator column that says it instead."""

    positive_is: Literal["inflow", "outflow"] = "inflow"
    indicator: FlowIndicator | None = None


class AccountRule(FrozenModel):
    """How an account number becomes ours, in this order: strip, upper, prefix, zero padding."""

    strip: bool = True
    upper: bool = False
    remove_prefix: str | None = None
    zero_pad: int | None = Field(default=None, ge=1, le=64)

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            re.compile(self.remove_prefix or "")
        except re.error as error:
            raise ValueError(f"remove_prefix is not a regular expression ({error})") from None
        return self

    def apply(self, text: str) -> str:
        """Return the normalised account number of a delivered one; may be empty."""
        account = text.strip() if self.strip else text
        account = account.upper() if self.upper else account
        if self.remove_prefix:
            account = re.sub(f"^(?:{self.remove_prefix})", "", account, count=1)
        return account.zfill(self.zero_pad) if self.zero_pad and account else account


class VendorMapping(FrozenModel):
    """Everything that is particular to one vendor's files.

    `columns`: vendor column -> canonical field or fields (`DELIVERED_FIELDS`, or
    `flow_indicator`). A mapped column must be in the header unless it stands in
    `optional_columns`; `extra_columns` are kept in bronze's `extra` under the vendor's names;
    `ignored_columns` are known and dropped; any other column is a fault.
    `record_type`: one for all records, or told by a column; fixed width tells it per record.
    `date_formats`: of as_of_date and flow_settlement_date, tried in order (%Y, %m, %d).
    `return_unit`: of reported_return. `codes`: field -> vendor's value -> ours; where a field has
    codes, other values are a fault; without codes a value must be canonical already.
    `defaults`: canonical value of a field that is not delivered or null; bronze does not hold it.
    `null_tokens`: texts that mean "no value", compared after strip; '' always does.
    `version`: SHA-256 of the mapping file, set when it is loaded.
    """

    vendor: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    display_name: str
    description: str
    file_name: FileName
    format: Annotated[Delimited | FixedWidth | JsonLines, Field(discriminator="kind")]
    columns: dict[str, Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]]
    optional_columns: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    record_type: RecordType | RecordTypeColumn = "combined"
    date_formats: tuple[str, ...] = Field(default=("%Y-%m-%d",), min_length=1)
    numbers: Numbers = Numbers()
    flow_sign: FlowSign = FlowSign()
    return_unit: Literal["decimal", "percent", "basis_points"] = "decimal"
    codes: dict[CodedField, dict[str, str]] = Field(default_factory=dict)
    defaults: dict[CodedField, str] = Field(default_factory=dict)
    null_tokens: tuple[str, ...] = ("",)
    account: AccountRule = AccountRule()
    version: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @property
    def column_of(self) -> dict[str, str]:
        """Canonical field (or `flow_indicator`) -> the vendor's column that delivers it."""
        return {field: column for column, fields in self.columns.items() for field in fields}

    @property
    def needed_columns(self) -> frozenset[str]:
        """Columns that a header must have."""
        needed = set(self.columns) - set(self.optional_columns)
        if isinstance(self.record_type, RecordTypeColumn):
            needed.add(self.record_type.column)
        return frozenset(needed)

    @property
    def known_columns(self) -> frozenset[str]:
        """Every column name that is no surprise in a file."""
        named = {*self.columns, *self.extra_columns, *self.ignored_columns}
        if isinstance(self.record_type, RecordTypeColumn):
            named.add(self.record_type.column)
        return frozenset(named)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        fields = [field for mapped in self.columns.values() for field in mapped]
        for problem in (*self._column_problems(fields), *self._value_problems(fields)):
            raise ValueError(problem)
        return self

    def _column_problems(self, fields: list[str]) -> list[str]:
        problems = [
            f"columns: {field!r} is no canonical field; use one of "
            f"{', '.join((*DELIVERED_FIELDS, FLOW_INDICATOR))}"
            for field in fields
            if field not in DELIVERED_FIELDS and field != FLOW_INDICATOR
        ]
        problems += [f"columns: {name!r} is fed twice" for name in fields if fields.count(name) > 1]
        problems += [
            f"columns: nothing is mapped to {field}"
            for field in ("account_id", "as_of_date")
            if field not in fields
        ]
        stray = set(self.optional_columns) - set(self.columns)
        problems += [f"optional_columns: {name!r} is not in columns" for name in sorted(stray)]
        for name in (*self.extra_columns, *self.ignored_columns):
            if name in self.columns:
                problems.append(f"{name!r} stands in columns and in extra or ignored columns")
        if isinstance(self.format, FixedWidth):
            problems += self._fixed_width_problems(self.format)
        return problems

    def _fixed_width_problems(self, layout: FixedWidth) -> list[str]:
        problems = []
        key_columns = {self.column_of.get("account_id"), self.column_of.get("as_of_date")}
        for record in layout.records:
            unknown = set(record.columns) - self.known_columns
            problems += [
                f"format.records.{record.code}: {name!r} is not mapped" for name in unknown
            ]
            if not key_columns <= set(record.columns):
                problems.append(f"format.records.{record.code}: account or date column is missing")
        if self.record_type != "combined":
            problems.append("record_type: fixed width tells it in format.records")
        stray = set(layout.trailer.control_columns) - set(self.columns)
        problems += [f"format.trailer.control_columns: {name!r} is not mapped" for name in stray]
        return problems

    def _value_problems(self, fields: list[str]) -> list[str]:
        problems = []
        if (self.flow_sign.indicator is not None) != (FLOW_INDICATOR in fields):
            problems.append("flow_sign.indicator and a column for flow_indicator need each other")
        canonical = [
            *(("defaults", field, value) for field, value in self.defaults.items()),
            *(
                ("codes", name, ours)
                for name, codes in self.codes.items()
                for ours in codes.values()
            ),
        ]
        for key, name, value in canonical:
            allowed = CANONICAL_CODES[name]
            if allowed is not None and value not in allowed:
                problems.append(f"{key}.{name}: {value!r} is none of {', '.join(allowed)}")
        for pattern in self.date_formats:
            if sorted(re.findall(r"%.", pattern)) != ["%Y", "%d", "%m"]:
                problems.append(f"date_formats: {pattern!r} must hold %Y, %m and %d once each")
        return problems
