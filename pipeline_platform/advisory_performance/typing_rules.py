"""DuckDB expressions that read a delivered text by the rules of its vendor's mapping.

Each function returns SQL for all given vendors at once (a CASE over `vendor` where they differ).
Numbers go from text to decimal without ever being a double. An expression is NULL where the
text can't be read; `record_faults.py` turns that into a reason.

Columns that the expressions read: `vendor`, `extra`, `<field>_text` (stripped, null tokens gone)
and `<field>_plain` (a number as digits with a decimal point).
"""

import re
from collections.abc import Callable, Sequence

import pyarrow as pa

from pipeline_platform.advisory_performance.tables import (
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.advisory_performance.vendors import (
    CANONICAL_CODES,
    FLOW_INDICATOR,
    VendorMapping,
)

UNIT_DECIMALS = {"decimal": 0, "percent": 2, "basis_points": 4}
"""By how many decimals a delivered return shifts when it becomes a fraction."""

RETURN_SCALE = REPORTED_RETURNS.schema.field("reported_return").type.scale

NUMBER_TYPES: dict[str, pa.Decimal128Type] = {
    "market_value": VALUATIONS.schema.field("market_value").type,
    "fx_rate": VALUATIONS.schema.field("fx_rate").type,
    "fees": VALUATIONS.schema.field("fees").type,
    "external_flow": EXTERNAL_FLOWS.schema.field("amount").type,
    "flow_weight": EXTERNAL_FLOWS.schema.field("weight").type,
    "valuation_before_flow": EXTERNAL_FLOWS.schema.field("valuation_before_flow").type,
    "reported_return": REPORTED_RETURNS.schema.field("reported_return").type,
}
"""Delivered number -> type of the silver column that it becomes."""

_WHITESPACE = " \t\n\r\v\f\u00a0"
_FAST_PRECISION = 18
_DATE_PARTS = {"%Y": "[0-9]{4}", "%m": "[0-9]{1,2}", "%d": "[0-9]{1,2}"}
_EXPONENT_SCALE = 18


def literal(value: str) -> str:
    """Return a text as SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def literals(values: Sequence[str]) -> str:
    """Return texts as the inside of an SQL `IN (...)`."""
    return ", ".join(literal(value) for value in values)


def per_vendor(
    mappings: Sequence[VendorMapping], expression: Callable[[VendorMapping], str]
) -> str:
    """Return one expression for all vendors; those that read alike share a branch."""
    vendors_by_expression: dict[str, list[str]] = {}
    for mapping in mappings:
        vendors_by_expression.setdefault(expression(mapping), []).append(mapping.vendor)
    if not vendors_by_expression:
        return "NULL"
    if len(vendors_by_expression) == 1:
        return next(iter(vendors_by_expression))
    branches = " ".join(
        f"WHEN vendor IN ({literals(vendors)}) THEN {sql}"
        for sql, vendors in vendors_by_expression.items()
    )
    return f"CASE {branches} END"


def stripped(column: str) -> str:
    """Return a delivered text without the blanks around it.

    Trimming a set of characters is slow, so texts with nothing to trim are told apart first.
    """
    ends = " OR ".join(f"ends_with({column}, {literal(blank)})" for blank in _WHITESPACE)
    return (
        f"CASE WHEN {column} BETWEEN '!' AND '~' AND NOT ({ends}) THEN {column}"
        f" ELSE trim({column}, {literal(_WHITESPACE)}) END"
    )


def without_null_tokens(mappings: Sequence[VendorMapping], text: str) -> str:
    """Return a stripped text, or NULL where it is one of the vendor's words for "no value"."""

    def one(mapping: VendorMapping) -> str:
        tokens = sorted({"", *mapping.null_tokens})
        return f"CASE WHEN {text} NOT IN ({literals(tokens)}) THEN {text} END"

    return per_vendor(mappings, one)


def plain_number(mappings: Sequence[VendorMapping], field: str) -> str:
    """Return the number as `[+-]digits[.digits]`; NULL where the vendor would not write it so.

    Thousands separators must stand between groups of three: otherwise `12.34` of a vendor that
    groups with points would become 1234. An exponent is read in JSON only, where it is a number's
    own spelling; elsewhere it is a spreadsheet's rounding and no longer the delivered figure.
    """
    text = f"{field}_text"

    def one(mapping: VendorMapping) -> str:
        point = mapping.numbers.decimal_separator
        group = mapping.numbers.thousands_separator
        sql = text
        if group:
            sql = f"replace({sql}, {literal(group)}, '')"
        if point != ".":
            sql = f"replace({sql}, {literal(point)}, '.')"
        branches = f"WHEN regexp_full_match({text}, {literal(mapping.numbers.shape)}) THEN {sql}"
        if mapping.format.kind == "json_lines" and point == ".":
            branches += _exponent_branch(text)
        return f"CASE {branches} END"

    return per_vendor(mappings, one)


def _exponent_branch(text: str) -> str:
    shape = literal(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,17})?[eE][+-]?[0-9]{1,2}")
    fraction = rf"strlen(regexp_extract({text}, '\.([0-9]+)', 1))"
    exponent = f"CAST(regexp_extract({text}, '[eE](.*)$', 1) AS INTEGER)"
    is_exact = f"{fraction} - {exponent} <= {_EXPONENT_SCALE}"
    value = f"try_cast({text} AS DECIMAL(38, {_EXPONENT_SCALE}))"
    plain = f"rtrim(rtrim(CAST({value} AS VARCHAR), '0'), '.')"
    return (
        f" WHEN CASE WHEN regexp_full_match({text}, {shape}) THEN {is_exact} ELSE false END"
        f" THEN {plain}"
    )


def delivered_decimals(plain: str) -> str:
    """Return how many digits stand behind the decimal point, trailing zeros included."""
    return f"(CASE WHEN strpos({plain}, '.') = 0 THEN 0 ELSE {_behind_point(plain)} END)"


def _behind_point(plain: str) -> str:
    return f"strlen({plain}) - strpos({plain}, '.')"


def is_exact(plain: str, scale: int) -> str:
    """Return the condition that a plain number has no more than `scale` decimals but zeros."""
    return (
        f"(strpos({plain}, '.') = 0 OR {_behind_point(plain)} <= {scale} OR"
        f" strlen(rtrim({plain}, '0')) - strpos({plain}, '.') <= {scale})"
    )


def exact_decimal(plain: str, precision: int, scale: int) -> str:
    """Return a plain number as DECIMAL; NULL where it has too many digits, never rounded.

    DuckDB reads text into 18 digits about a hundred times faster than into more, so the wider
    cast is tried for those only that need it.
    """
    fast = f"try_cast({plain} AS DECIMAL({min(precision, _FAST_PRECISION)}, {scale}))"
    if precision > _FAST_PRECISION:
        wide = f"DECIMAL({precision}, {scale})"
        fast = f"coalesce(CAST({fast} AS {wide}), try_cast({plain} AS {wide}))"
    return f"CASE WHEN {is_exact(plain, scale)} THEN {fast} END"


def number(field: str) -> str:
    """Return a delivered number in the type of its silver column."""
    kind = NUMBER_TYPES[field]
    return exact_decimal(f"{field}_plain", kind.precision, kind.scale)


def return_fraction(mappings: Sequence[VendorMapping]) -> str:
    """Return the reported return as a fraction: a percentage times 0.01, exactly."""
    kind = NUMBER_TYPES["reported_return"]

    def one(mapping: VendorMapping) -> str:
        shift = UNIT_DECIMALS[mapping.return_unit]
        delivered = exact_decimal("reported_return_plain", kind.precision, kind.scale - shift)
        if not shift:
            return delivered
        unit = "0." + "1".rjust(shift, "0")
        return f"try_cast(({delivered}) * {unit} AS DECIMAL({kind.precision}, {kind.scale}))"

    return per_vendor(mappings, one)


def fraction_scale(mappings: Sequence[VendorMapping]) -> str:
    """Return how many decimals a delivered return may have in its vendor's unit."""
    return per_vendor(mappings, lambda one: str(RETURN_SCALE - UNIT_DECIMALS[one.return_unit]))


def fraction_decimals(mappings: Sequence[VendorMapping]) -> str:
    """Return with how many decimals the fraction was reported: "0.12" percent has four.

    Never more than the column holds; digits beyond those can only be zeros.
    """
    shift = per_vendor(mappings, lambda mapping: str(UNIT_DECIMALS[mapping.return_unit]))
    return (
        f"CAST(least({delivered_decimals('reported_return_plain')} + ({shift}), {RETURN_SCALE})"
        " AS SMALLINT)"
    )


def signed_amount(mappings: Sequence[VendorMapping], amount: str) -> str:
    """Return a flow with + = into the account; NULL where the vendor's indicator says neither."""

    def one(mapping: VendorMapping) -> str:
        indicator = mapping.flow_sign.indicator
        if indicator:
            return (
                f"CASE WHEN flow_indicator IN ({literals(indicator.inflow)}) THEN abs({amount})"
                f" WHEN flow_indicator IN ({literals(indicator.outflow)}) THEN -abs({amount}) END"
            )
        return f"-{amount}" if mapping.flow_sign.positive_is == "outflow" else amount

    return per_vendor(mappings, one)


def flow_indicator(mappings: Sequence[VendorMapping]) -> str:
    """Return the text of the column that says in or out; bronze keeps it in `extra`."""

    def one(mapping: VendorMapping) -> str:
        if mapping.flow_sign.indicator is None:
            return "NULL"
        path = literal(f"$.{FLOW_INDICATOR}")
        value = stripped(f"json_extract_string(extra, {path})")
        return f"CASE WHEN json_valid(extra) THEN {value} END"

    return f"CAST({per_vendor(mappings, one)} AS VARCHAR)"


def code(mappings: Sequence[VendorMapping], field: str) -> str:
    """Return our word for a vendor's code or its default; NULL where the code is unknown."""
    text = f"{field}_text"
    canonical = CANONICAL_CODES[field]

    def one(mapping: VendorMapping) -> str:
        codes = mapping.codes.get(field, {})  # type: ignore[call-overload]
        known = text
        if codes:
            branches = " ".join(
                f"WHEN {literal(theirs)} THEN {literal(ours)}" for theirs, ours in codes.items()
            )
            known = f"CASE {text} {branches} END"
        elif canonical:
            known = f"CASE WHEN {text} IN ({literals(canonical)}) THEN {text} END"
        default = mapping.defaults.get(field)  # type: ignore[call-overload]
        otherwise = literal(default) if default is not None else "NULL"
        return f"CASE WHEN {text} IS NOT NULL THEN {known} ELSE {otherwise} END"

    return f"CAST({per_vendor(mappings, one)} AS VARCHAR)"


def day(mappings: Sequence[VendorMapping], field: str) -> str:
    """Return a delivered day by the vendor's date formats, tried in order.

    Day and month may lack their leading zero only next to separators, as in `vendors.parse_day`.
    """
    text = f"{field}_text"

    def one(mapping: VendorMapping) -> str:
        tries = [
            f"CASE WHEN regexp_full_match({text}, {literal(_day_shape(pattern))})"
            f" THEN CAST(try_strptime({text}, {literal(pattern)}) AS DATE) END"
            for pattern in mapping.date_formats
        ]
        return f"coalesce({', '.join(tries)})"

    return f"CAST({per_vendor(mappings, one)} AS DATE)"


def _day_shape(pattern: str) -> str:
    has_separators = not re.search("%[Ymd]%[Ymd]", pattern)
    shape = re.escape(pattern)
    for part, digits in _DATE_PARTS.items():
        shape = shape.replace(part, digits if has_separators else digits.replace("{1,2}", "{2}"))
    return shape
