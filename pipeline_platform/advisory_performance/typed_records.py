"""The query that reads every delivered record once: texts to typed values, and its first fault."""

from collections.abc import Sequence

from pipeline_platform.advisory_performance import typing_rules
from pipeline_platform.advisory_performance.record_faults import Fault
from pipeline_platform.advisory_performance.tables import DELIVERED_FIELDS
from pipeline_platform.advisory_performance.vendors import VendorMapping

_LINES_PER_FILE = 2**40
_TEXTS = tuple(field for field in DELIVERED_FIELDS if field != "account_id")


def typed_records(prefix: str, mappings: Sequence[VendorMapping], faults: Sequence[Fault]) -> str:
    """Return the query that types and judges every record: one scan of bronze, in steps."""
    stripped = ", ".join(f"{typing_rules.stripped(field)} AS {field}_text" for field in _TEXTS)
    told = ", ".join(
        f"{typing_rules.without_null_tokens(mappings, f'{field}_text')} AS {field}_text"
        for field in _TEXTS
    )
    plain = ", ".join(
        f"{typing_rules.plain_number(mappings, field)} AS {field}_plain"
        for field in typing_rules.NUMBER_TYPES
    )
    values = ", ".join(
        f"{typing_rules.number(field)} AS {field}_value"
        for field in typing_rules.NUMBER_TYPES
        if field != "reported_return"
    )
    numbered = " ".join(
        f"WHEN {fault.condition} THEN {number}" for number, fault in enumerate(faults)
    )
    return f"""
        WITH stripped AS (
            SELECT
                file_rank, file_sha256, line_number, bronze.vendor, account_id,
                file_rank * {_LINES_PER_FILE} + line_number AS arrival,
                as_of_month, bronze.received_at AS known_from, record_type, extra, {stripped}
            FROM {prefix}_bronze AS bronze
            JOIN {prefix}_files USING (file_sha256)
        ),
        told AS (
            SELECT * REPLACE ({told}), {typing_rules.flow_indicator(mappings)} AS flow_indicator
            FROM stripped
        ),
        plain AS (SELECT *, {plain} FROM told),
        valued AS (
            SELECT
                *, {values},
                {typing_rules.return_fraction(mappings)} AS reported_return_value,
                {typing_rules.day(mappings, "flow_settlement_date")} AS settlement_date,
                try_cast(as_of_date_text AS DATE) AS as_of_date,
                {typing_rules.code(mappings, "flow_timing")} AS timing,
                {typing_rules.code(mappings, "reported_period")} AS period,
                {typing_rules.code(mappings, "reported_basis")} AS basis,
                {typing_rules.code(mappings, "currency")} AS currency,
                {typing_rules.code(mappings, "account_class")} AS account_class
            FROM plain
        ),
        signed AS (
            SELECT
                *, {typing_rules.signed_amount(mappings, "external_flow_value")} AS amount,
                market_value_value IS NOT NULL AS has_valuation,
                reported_return_value IS NOT NULL AS has_return,
                record_type = 'combined' AND market_value_value IS NOT NULL AS states_all_flows
            FROM valued
        ),
        parts AS (
            SELECT
                *, market_value_value AS market_value, fees_value AS fees, fx_rate_value AS fx_rate,
                CASE WHEN timing = 'weighted' THEN flow_weight_value END AS weight,
                valuation_before_flow_value AS valuation_before_flow, flow_id_text AS flow_id,
                reported_return_value AS reported_return,
                {typing_rules.fraction_decimals(mappings)} AS decimals,
                amount IS NOT NULL AND NOT (states_all_flows AND amount = 0) AS has_flow,
                states_all_flows AND coalesce(amount, 0) = 0 AS states_no_flow,
                1::INTEGER AS flow_sequence, NULL::TIMESTAMPTZ AS known_to, true AS is_current
            FROM signed
        ),
        judged AS (
            SELECT *, CASE {numbered} END AS fault FROM parts
        )
        SELECT
            arrival, file_rank, line_number, account_id, as_of_date, as_of_month,
            market_value, currency, fx_rate, fees, account_class, has_valuation,
            flow_id, amount, timing, weight, valuation_before_flow, settlement_date, has_flow,
            states_no_flow, period, basis, reported_return, decimals, has_return,
            {_of_fault("rule", [fault.rule for fault in faults])},
            {_of_fault("column_name", [f"'{fault.column}'" for fault in faults])},
            {_of_fault("reason", [fault.reason for fault in faults])}
        FROM judged
    """


def _of_fault(name: str, texts: Sequence[str]) -> str:
    branches = " ".join(f"WHEN {number} THEN {text}" for number, text in enumerate(texts))
    return f"CASE WHEN fault IS NOT NULL THEN CASE fault {branches} END END AS {name}"
