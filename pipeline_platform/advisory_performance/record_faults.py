"""Everything that can be wrong with one delivered record by itself, in the order it is judged.

A record is rejected whole, for the first fault that it has; the reason names column and value.
Conditions and reasons are DuckDB expressions over the columns of `normalisation`'s typing steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline_platform.advisory_performance import typing_rules
from pipeline_platform.advisory_performance.currencies import CURRENCIES
from pipeline_platform.advisory_performance.typing_rules import literal, literals
from pipeline_platform.advisory_performance.vendors import FLOW_INDICATOR, VendorMapping
from pipeline_platform.quality.contracts import RowRule

SHOWN_CHARACTERS = 80
"""How much of a delivered value a reason shows."""

_PART_OF_TABLE = {
    "valuations": "has_valuation",
    "external_flows": "has_flow",
    "reported_returns": "has_return",
}
_REQUIRED_VALUE = {
    "valuation": "market_value",
    "flow": "external_flow",
    "return": "reported_return",
}
_CODES = {
    "flow_timing": "timing",
    "reported_period": "period",
    "reported_basis": "basis",
    "currency": "currency",
    "account_class": "account_class",
}


@dataclass(frozen=True)
class Fault:
    """One way in which a record is wrong: rule and reason are SQL texts, condition SQL."""

    rule: str
    column: str
    condition: str
    reason: str


def shown(value: str) -> str:
    """Return SQL for a value as a reason shows it: shortened, control characters as `?`."""
    cut = f"left({value}, {SHOWN_CHARACTERS - 1}) || '…'"
    short = f"CASE WHEN length({value}) > {SHOWN_CHARACTERS} THEN {cut} ELSE {value} END"
    return f"regexp_replace({short}, '[[:cntrl:]]', '?', 'g')"


def record_faults(
    mappings: Sequence[VendorMapping], row_rules: Mapping[str, Sequence[RowRule]]
) -> list[Fault]:
    """Return all faults in the order in which they are judged."""
    return [
        _unknown_vendor(mappings),
        _fault("account_id_missing", "account_id", "coalesce(account_id, '') = ''"),
        Fault(
            "'as_of_date_invalid'",
            "as_of_date",
            "as_of_date IS NULL",
            _sentence("as_of_date", "as_of_date_text", "is no day."),
        ),
        *(_number_fault(mappings, field) for field in typing_rules.NUMBER_TYPES),
        Fault(
            "'flow_settlement_date_invalid'",
            "flow_settlement_date",
            "flow_settlement_date_text IS NOT NULL AND settlement_date IS NULL",
            _sentence(
                "flow_settlement_date",
                "flow_settlement_date_text",
                "is no day in the vendor's date format.",
            ),
        ),
        *(_unknown_code(field, column) for field, column in _CODES.items()),
        *_flow_faults(),
        *_missing_value_faults(),
        *_missing_code_faults(),
        *_row_rule_faults(row_rules),
    ]


def _sentence(column: str, value: str, statement: str) -> str:
    """Return SQL for "column: 'value' statement"."""
    return f"concat({literal(column + ': ')}, '''', {shown(value)}, ''' ', {literal(statement)})"


def _fault(rule: str, column: str, condition: str, statement: str = "is missing.") -> Fault:
    return Fault(literal(rule), column, condition, literal(f"{column} {statement}"))


def _unknown_vendor(mappings: Sequence[VendorMapping]) -> Fault:
    known = literals([mapping.vendor for mapping in mappings])
    return Fault(
        "'vendor_unknown'",
        "vendor",
        f"vendor NOT IN ({known})" if known else "true",
        _sentence("vendor", "vendor", "has no mapping."),
    )


def _number_fault(mappings: Sequence[VendorMapping], field: str) -> Fault:
    kind = typing_rules.NUMBER_TYPES[field]
    text, plain = f"{field}_text", f"{field}_plain"
    scale, whole = str(kind.scale), kind.precision - kind.scale
    if field == "reported_return":
        scale = typing_rules.fraction_scale(mappings)
    decimals = typing_rules.delivered_decimals(f"rtrim({plain}, '0')")
    is_precise = f"{decimals} > ({scale})"
    invalid = _sentence(field, text, "is no number as the vendor writes them.")
    precise = (
        f"concat({_sentence(field, text, 'has more decimals than the')},"
        f" ' ', {scale}, ' that can be kept exactly.')"
    )
    outside = _sentence(field, text, f"is out of range: at most {whole} digits before the point.")
    return Fault(
        f"CASE WHEN {plain} IS NULL THEN '{field}_invalid'"
        f" WHEN {is_precise} THEN '{field}_too_precise' ELSE '{field}_out_of_range' END",
        field,
        f"{text} IS NOT NULL AND {field}_value IS NULL",
        f"CASE WHEN {plain} IS NULL THEN {invalid} WHEN {is_precise} THEN {precise}"
        f" ELSE {outside} END",
    )


def _unknown_code(field: str, column: str) -> Fault:
    condition = f"{field}_text IS NOT NULL AND {column} IS NULL"
    statement = "is no code that the vendor's mapping knows."
    if field == "currency":
        condition = f"currency NOT IN ({literals(sorted(CURRENCIES))}) OR {condition}"
        statement = "is no ISO 4217 currency, nor a code that the vendor's mapping knows."
    value = f"coalesce({field}_text, {column})"
    return Fault(literal(f"{field}_unknown"), field, condition, _sentence(field, value, statement))


def _flow_faults() -> Iterator[Fault]:
    yield Fault(
        f"CASE WHEN flow_indicator IS NULL THEN '{FLOW_INDICATOR}_missing'"
        f" ELSE '{FLOW_INDICATOR}_unknown' END",
        FLOW_INDICATOR,
        "external_flow_value IS NOT NULL AND amount IS NULL",
        f"CASE WHEN flow_indicator IS NULL THEN '{FLOW_INDICATOR} is missing.' ELSE "
        + _sentence(FLOW_INDICATOR, "flow_indicator", "says neither in nor out.")
        + " END",
    )
    yield Fault(
        "'flow_weight_contradicts_timing'",
        "flow_weight",
        "has_flow AND flow_weight_value IS DISTINCT FROM CASE timing"
        " WHEN 'start_of_day' THEN 1 WHEN 'end_of_day' THEN 0 ELSE flow_weight_value END"
        " AND flow_weight_value IS NOT NULL",
        "concat(" + _sentence("flow_weight", "flow_weight_text", "contradicts the timing ") + ","
        " timing, '; a weight belongs to a flow that is weighted.')",
    )


def _missing_value_faults() -> Iterator[Fault]:
    for record_type, field in _REQUIRED_VALUE.items():
        yield _fault(
            f"{field}_missing",
            field,
            f"record_type = {literal(record_type)} AND {field}_text IS NULL",
            f"is missing in a {record_type} record.",
        )
    yield Fault(
        "'record_type_unknown'",
        "record_type",
        f"record_type NOT IN ('combined', {literals(list(_REQUIRED_VALUE))})",
        _sentence("record_type", "record_type", "is no kind of record."),
    )
    yield _fault(
        "empty_record",
        "market_value",
        "NOT (has_valuation OR has_flow OR has_return)",
        "is missing, and so are external_flow and reported_return: the record states nothing.",
    )
    yield _fault(
        "fees_without_valuation",
        "fees",
        "fees_value <> 0 AND NOT has_valuation",
        "came without a market_value; they can't be kept.",
    )


def _missing_code_faults() -> Iterator[Fault]:
    yield _fault("currency_missing", "currency", "(has_valuation OR has_flow) AND currency IS NULL")
    yield _fault(
        "account_class_missing", "account_class", "has_valuation AND account_class IS NULL"
    )
    yield _fault("flow_timing_missing", "flow_timing", "has_flow AND timing IS NULL")
    yield _fault("reported_period_missing", "reported_period", "has_return AND period IS NULL")
    yield _fault("reported_basis_missing", "reported_basis", "has_return AND basis IS NULL")


def _row_rule_faults(row_rules: Mapping[str, Sequence[RowRule]]) -> Iterator[Fault]:
    """Return contract rules that a single row can break, for rows that go to their table.

    A rule that several tables share word by word is judged once.
    """
    parts_of_rule: dict[RowRule, list[str]] = {}
    for table, rules in row_rules.items():
        for rule in rules:
            parts_of_rule.setdefault(rule, []).append(_PART_OF_TABLE[table])
    for rule, parts in parts_of_rule.items():
        yield Fault(
            literal(rule.name),
            rule.column,
            f"({' OR '.join(parts)}) AND NOT ({rule.predicate})",
            _rule_reason(rule),
        )


def _rule_reason(rule: RowRule) -> str:
    value = shown(f"CAST({rule.column} AS VARCHAR)")
    found = f"CASE WHEN {rule.column} IS NULL THEN 'nothing' ELSE concat('''', {value}, '''') END"
    return f"concat({literal(rule.reason)}, ' Found: ', {found}, '.')"
