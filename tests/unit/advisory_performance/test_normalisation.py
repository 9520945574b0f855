"""Bronze to silver, one record at a time: what a delivered text becomes, or why it is rejected."""

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance import tables
from pipeline_platform.advisory_performance.tables import (
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.quality.contracts import Contract, RowRule, row_rules
from tests.examples import examples

from .bronze_records import (
    Outcome,
    arrival_of,
    connect,
    flow,
    mappings,
    record,
    reported,
    sha_of,
    valuation,
)
from .written_deliveries import MAPPINGS, fixed_width_bytes, read, standard_file


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("valuations", VALUATIONS),
        ("external_flows", EXTERNAL_FLOWS),
        ("reported_returns", REPORTED_RETURNS),
    ],
)
def test_results_have_the_columns_and_types_of_the_silver_tables(name, table):
    outcome = Outcome([record(market_value="1", external_flow="2", reported_return="0.1")])
    schema = getattr(outcome.normalised, name).to_arrow_table().schema
    assert [(f.name, f.type) for f in schema] == [(f.name, f.type) for f in table.schema]


def test_results_of_no_rows_are_empty():
    assert set(map(len, Outcome([]).everything().values())) == {0}


def test_a_combined_record_becomes_valuation_flow_and_return():
    outcome = Outcome([record(market_value="1", external_flow="2", reported_return="0.1")])
    tables = ("valuations", "external_flows", "reported_returns")
    assert [len(outcome.values(table, "*")) for table in tables] == [1, 1, 1]


def test_a_row_keeps_file_line_and_the_arrival_of_its_file():
    outcome = Outcome([valuation(file=3, line=17)])
    columns = "file_sha256, line_number, known_from, known_to, is_current"
    assert outcome.values("valuations", columns) == [(sha_of(3), 17, arrival_of(3), None, True)]


def test_a_valuation_without_currency_or_class_takes_the_defaults_of_its_mapping():
    outcome = Outcome([valuation(vendor="harbor", currency=None)])
    assert outcome.values("valuations", "currency, account_class") == [("USD", "private")]


@pytest.mark.parametrize(
    ("vendor", "text", "value"),
    [
        ("standard", "1234567.89", "1234567.8900"),
        ("standard", "  12.5\t", "12.5000"),
        ("standard", "\u00a012.5\u00a0", "12.5000"),
        ("standard", "-.5", "-0.5000"),
        ("standard", "+7", "7.0000"),
        ("standard", "0001.10000000", "1.1000"),
        ("standard", "9999999999999999.9999", "9999999999999999.9999"),
        ("standard", "0.1000000000000000000000000000000000000000000000", "0.1000"),
        ("northgate", "1.234.567,89", "1234567.8900"),
        ("northgate", "1234567,89", "1234567.8900"),
        ("harbor", "1.05E+6", "1050000.0000"),
        ("harbor", "5e-4", "0.0005"),
    ],
)
def test_numbers_are_read_exactly_by_the_vendors_format(vendor, text, value):
    outcome = Outcome([valuation(text, vendor=vendor)])
    assert outcome.values("valuations", "market_value") == [Decimal(value)]


@pytest.mark.parametrize(
    ("vendor", "text", "rule"),
    [
        ("standard", "12,50", "market_value_invalid"),
        ("standard", "1_000", "market_value_invalid"),
        ("standard", "1e3", "market_value_invalid"),
        ("standard", "NaN", "market_value_invalid"),
        ("standard", "Infinity", "market_value_invalid"),
        ("standard", "--5", "market_value_invalid"),
        ("standard", "5.", "market_value_invalid"),
        ("standard", "1 000", "market_value_invalid"),
        ("standard", "\uff11\uff12", "market_value_invalid"),
        ("standard", "'; DROP TABLE x; --", "market_value_invalid"),
        ("standard", "1.23456", "market_value_too_precise"),
        ("standard", "10000000000000000", "market_value_out_of_range"),
        ("standard", "9" * 400, "market_value_out_of_range"),
        ("northgate", "12.34", "market_value_invalid"),
        ("northgate", "1.2345,00", "market_value_invalid"),
        ("northgate", "1234.567,00", "market_value_invalid"),
        ("harbor", "true", "market_value_invalid"),
        ("harbor", "1e-300", "market_value_invalid"),
        ("harbor", "1e-9", "market_value_too_precise"),
    ],
)
def test_a_number_that_can_not_be_kept_exactly_is_rejected(vendor, text, rule):
    assert Outcome([valuation(text, vendor=vendor)]).rules == [rule]


@examples(8)
@given(
    st.lists(
        st.decimals(-(10**15), 10**15, places=4, allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=180,
    )
)
def test_any_amount_of_money_survives_digit_by_digit(amounts):
    rows = [
        valuation(f"{amount:f}", line=line, account_id=f"A-{line:03}")
        for line, amount in enumerate(amounts)
    ]
    found = Outcome(rows).values("valuations", "account_id, market_value")
    assert [value for _, value in found] == amounts


@pytest.mark.parametrize(
    ("vendor", "text", "fraction", "decimals"),
    [
        ("standard", "0.0123", "0.0123", 4),
        ("standard", "0.012300", "0.0123", 6),
        ("standard", "1", "1", 0),
        ("standard", "-0.123456789012", "-0.123456789012", 12),
        ("northgate", "1,20", "0.012", 4),
        ("northgate", "-0,0000000001", "-0.000000000001", 12),
        ("meridian", "12.5", "0.00125", 5),
        ("meridian", "-3", "-0.0003", 4),
        ("meridian", "9999999999.99999999", "999999.999999999999", 12),
        ("harbor", "1e-05", "0.00001", 5),
    ],
)
def test_a_return_becomes_a_fraction_and_keeps_its_decimals(vendor, text, fraction, decimals):
    outcome = Outcome([reported(text, vendor=vendor, currency=None)])
    found = outcome.values("reported_returns", "reported_return, decimals")
    assert found == [(Decimal(fraction), decimals)]


@pytest.mark.parametrize(
    ("vendor", "text", "rule"),
    [
        ("standard", "0.1234567890123", "reported_return_too_precise"),
        ("northgate", "0,12345678901", "reported_return_too_precise"),
        ("meridian", "0.123456789", "reported_return_too_precise"),
        ("standard", "1000000", "reported_return_out_of_range"),
        ("northgate", "100000000", "reported_return_out_of_range"),
        ("standard", "1.2%", "reported_return_invalid"),
    ],
)
def test_a_return_that_a_fraction_can_not_hold_is_rejected(vendor, text, rule):
    assert Outcome([reported(text, vendor=vendor)]).rules == [rule]


@pytest.mark.parametrize(
    ("vendor", "text", "extra", "amount"),
    [
        ("standard", "-25.5", None, "-25.5"),
        ("northgate", "25,5", None, "-25.5"),
        ("northgate", "-25,5", None, "25.5"),
        ("meridian", "25.5", {"flow_indicator": "C"}, "25.5"),
        ("meridian", "25.5", {"flow_indicator": " D "}, "-25.5"),
        ("meridian", "-25.5", {"flow_indicator": "D"}, "-25.5"),
    ],
)
def test_a_flow_is_positive_when_it_enters_the_account(vendor, text, extra, amount):
    row = flow(text, vendor=vendor, extra=json.dumps(extra) if extra else None)
    assert Outcome([row]).values("external_flows", "amount") == [Decimal(amount)]


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        ('{"flow_indicator": "X"}', "flow_indicator_unknown"),
        ("{}", "flow_indicator_missing"),
        (None, "flow_indicator_missing"),
        ("no JSON", "flow_indicator_missing"),
    ],
)
def test_a_flow_whose_direction_is_not_told_is_rejected(extra, rule):
    assert Outcome([flow(vendor="meridian", extra=extra)]).rules == [rule]


@pytest.mark.parametrize(
    ("vendor", "code", "timing"),
    [
        ("meridian", "S", "start_of_day"),
        ("meridian", "E", "end_of_day"),
        ("meridian", "W", "weighted"),
        ("meridian", None, "start_of_day"),
        ("standard", "weighted", "weighted"),
        ("standard", None, "end_of_day"),
        ("harbor", None, "weighted"),
    ],
)
def test_timing_codes_become_ours(vendor, code, timing):
    row = flow(vendor=vendor, flow_timing=code, extra='{"flow_indicator": "C"}')
    assert Outcome([row]).values("external_flows", "timing") == [timing]


def test_a_weighted_flow_keeps_weight_and_the_valuation_before_it():
    row = flow(flow_timing="weighted", flow_weight="0.25", valuation_before_flow="99.5")
    found = Outcome([row]).values("external_flows", "weight, valuation_before_flow")
    assert found == [(Decimal("0.25"), Decimal("99.5"))]


@pytest.mark.parametrize(("timing", "weight"), [("start_of_day", "1.0"), ("end_of_day", "0")])
def test_a_weight_that_only_repeats_the_timing_is_dropped(timing, weight):
    row = flow(flow_timing=timing, flow_weight=weight)
    assert Outcome([row]).values("external_flows", "weight") == [None]


@pytest.mark.parametrize(("vendor", "text"), [("northgate", "3.10.2026"), ("meridian", "20261003")])
def test_a_settlement_date_is_read_by_the_vendors_format(vendor, text):
    row = flow("5", vendor=vendor, flow_settlement_date=text, extra='{"flow_indicator": "C"}')
    assert Outcome([row]).values("external_flows", "settlement_date") == [date(2026, 10, 3)]


@pytest.mark.parametrize(
    ("vendor", "token"), [("northgate", "k.A."), ("northgate", " - "), ("meridian", "N/A")]
)
def test_a_word_for_no_value_is_no_value(vendor, token):
    row = valuation("5", vendor=vendor, fees=token)
    assert Outcome([row]).values("valuations", "fees") == [None]


@pytest.mark.parametrize("amount", ["0", "0.00", None, ""])
def test_a_combined_record_with_a_value_and_no_amount_states_that_nothing_flowed(amount):
    outcome = Outcome([record(market_value="1", external_flow=amount)])
    assert outcome.values("external_flows", "*") == []


def test_a_flow_record_of_zero_is_kept_for_the_contract_to_judge():
    assert Outcome([flow("0")]).values("external_flows", "amount") == [Decimal(0)]


@pytest.mark.parametrize(
    ("row", "rule", "column"),
    [
        (record(), "empty_record", "market_value"),
        (record(fees="5", external_flow="1"), "fees_without_valuation", "fees"),
        (record(record_type="valuation"), "market_value_missing", "market_value"),
        (record(record_type="flow"), "external_flow_missing", "external_flow"),
        (record(record_type="return"), "reported_return_missing", "reported_return"),
        (record(record_type="gossip", fees="1"), "record_type_unknown", "record_type"),
        (valuation(account_id=""), "account_id_missing", "account_id"),
        (valuation(vendor="nobody"), "vendor_unknown", "vendor"),
        (valuation(currency=None), "currency_missing", "currency"),
        (flow(currency=""), "currency_missing", "currency"),
        (valuation(currency="USDX"), "currency_unknown", "currency"),
        (valuation(currency="usd"), "currency_unknown", "currency"),
        (valuation(currency="XXX"), "currency_unknown", "currency"),
        (valuation(fees="x"), "fees_invalid", "fees"),
        (valuation(fx_rate="1,1"), "fx_rate_invalid", "fx_rate"),
        (valuation(vendor="harbor", account_class="??"), "account_class_unknown", "account_class"),
        (flow(flow_timing="noon"), "flow_timing_unknown", "flow_timing"),
        (flow(flow_weight="0.5"), "flow_weight_contradicts_timing", "flow_weight"),
        (flow(flow_timing="weighted", flow_weight="11"), "flow_weight_out_of_range", "flow_weight"),
        (
            flow(valuation_before_flow="x"),
            "valuation_before_flow_invalid",
            "valuation_before_flow",
        ),
        (
            flow(flow_settlement_date="2026-02-30"),
            "flow_settlement_date_invalid",
            "flow_settlement_date",
        ),
        (
            flow(vendor="meridian", flow_settlement_date="2026103", extra='{"flow_indicator":"C"}'),
            "flow_settlement_date_invalid",
            "flow_settlement_date",
        ),
        (reported(reported_period="weekly"), "reported_period_unknown", "reported_period"),
        (reported(reported_basis="brutto"), "reported_basis_unknown", "reported_basis"),
        (reported(vendor="harbor", reported_period="ytd"), "reported_period_unknown", None),
    ],
)
def test_a_record_that_can_not_be_understood_is_rejected(row, rule, column):
    found = Outcome([row]).values("rejected", "rule, column_name")
    assert found == [(rule, column or "reported_period")]


@pytest.mark.parametrize(
    ("field", "without", "rule"),
    [
        ("flow_timing", flow(), "flow_timing_missing"),
        ("reported_period", reported(), "reported_period_missing"),
        ("reported_basis", reported(), "reported_basis_missing"),
        ("account_class", valuation(), "account_class_missing"),
    ],
)
def test_a_missing_code_without_default_is_rejected(field, without, rule):
    standard = mappings()["standard"]
    defaults = {name: value for name, value in standard.defaults.items() if name != field}
    known = {"standard": standard.model_copy(update={"defaults": defaults})}
    assert Outcome([without], known=known).rules == [rule]


def test_a_return_needs_no_currency():
    assert Outcome([reported(currency=None)]).rules == []


def test_one_bad_value_rejects_all_parts_of_the_record():
    outcome = Outcome([record(market_value="1", external_flow="2", reported_return="x")])
    assert outcome.totals == (1, 0, 1, 0)


def test_a_reason_names_column_value_file_and_line():
    assert Outcome([valuation("12,3x", line=7)]).reasons == [
        "market_value: '12,3x' is no number as the vendor writes them. (delivery_1, line 7)"
    ]


def test_a_reason_shortens_long_values_and_hides_control_characters():
    reason = Outcome([valuation("\x1b[2J\x00" + "9" * 500)]).reasons[0]
    assert reason.split("'")[1] == "?[2J?" + "9" * 74 + "…"


def test_a_rejected_record_is_kept_as_delivered():
    row = valuation("x", line=7, account_id="A'1", extra='{"batch": 3}')
    kept = json.loads(Outcome([row]).values("rejected", "record")[0])
    assert kept == {
        "record_type": "valuation",
        "account_id": "A'1",
        "as_of_date": "2026-10-01",
        "market_value": "x",
        "currency": "USD",
        "extra": '{"batch": 3}',
    }


def test_a_rejected_record_names_file_vendor_and_month():
    columns = "file_sha256, file_name, vendor, line_number, partition_key"
    found = Outcome([valuation("x", line=7)]).values("rejected", columns)
    assert found == [(sha_of(1), "delivery_1", "standard", 7, "2026-10-01")]


POSITIVE = RowRule("positive_value", "market_value", "market_value >= 0", "It is negative.")


def test_a_row_that_breaks_its_contract_is_rejected_by_the_rules_name_and_column():
    outcome = Outcome([valuation("-1")], rules={"valuations": [POSITIVE]})
    assert outcome.values("rejected", "rule, column_name") == [("positive_value", "market_value")]


def test_a_contract_rule_does_not_judge_records_of_other_tables():
    outcome = Outcome([flow("-1")], rules={"valuations": [POSITIVE]})
    assert outcome.rules == []


CONTRACTS = Path(tables.__file__).parent / "contracts"


def shipped_rules():
    names = ("valuations", "external_flows", "reported_returns")
    return {name: row_rules(Contract.load(CONTRACTS / f"{name}.yaml")) for name in names}


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (valuation("-1"), "market_value_is_not_negative"),
        (valuation("1", account_id="'; DROP TABLE x"), "account_id_is_well_formed"),
        (valuation("1", fx_rate="0"), "fx_rate_is_positive"),
        (flow("1", account_id="#"), "account_id_is_well_formed"),
        (flow(flow_timing="weighted", flow_weight="1.1"), "weight_is_a_fraction"),
        (reported("-1.01"), "reported_return_is_plausible"),
        (record(market_value="1", reported_return="11"), "reported_return_is_plausible"),
    ],
)
def test_the_shipped_contracts_reject_rows_that_break_them(row, rule):
    assert Outcome([row], rules=shipped_rules()).rules == [rule]


def test_the_shipped_contracts_accept_good_records():
    row = record(market_value="1", external_flow="1", reported_return="0.1", fees="1")
    assert Outcome([row], rules=shipped_rules()).rules == []


def test_a_broken_contract_rule_is_explained_with_the_value_found():
    reason = Outcome([valuation("-1")], rules={"valuations": [POSITIVE]}).reasons
    assert reason == ["It is negative. Found: '-1.0000'. (delivery_1, line 2)"]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("valuations", VALUATIONS),
        ("external_flows", EXTERNAL_FLOWS),
        ("reported_returns", REPORTED_RETURNS),
    ],
)
def test_a_contract_rule_may_read_every_column_of_its_table(name, table):
    rules = [
        RowRule(f"rule_{column}", column, f"{column} IS NULL", "") for column in table.schema.names
    ]
    row = record(market_value="1", external_flow="1", reported_return="0.1")
    assert len(Outcome([row], rules={name: rules}).rules) == 1


MERIDIAN_ROWS = [
    ("VAL", {"account": "M1", "date": "20261001", "currency": "USD", "value": "1000.00"}),
    (
        "FLW",
        {
            "account": "M1",
            "date": "20261001",
            "currency": "USD",
            "amount": "25.00",
            "direction": "D",
            "timing": "W",
            "weight": "0.25",
        },
    ),
    ("RET", {"account": "M1", "date": "20261001", "period": "MTD", "basis_points": "12.5"}),
]
FILES = {
    "standard": standard_file("A-1001,2026-10-01,1000.00,-25.00,weighted,0.00125,mtd,USD"),
    "northgate": (
        "Kontonummer;Bewertungstag;Währung;Marktwert;Mittelfluss;Rendite in %;Zeitraum\n"
        "ng-4711;01.10.2026;EUR;1.000,00;25,00;0,125;M\n"
    ).encode("latin-1"),
    "meridian": fixed_width_bytes(MAPPINGS["meridian"], MERIDIAN_ROWS),
    "harbor": gzip.compress(
        b'{"kind":"position","account":{"id":"hb_77"},"date":"2026-10-01","nav":1.0E+3}\n'
        b'{"kind":"cashflow","account":{"id":"hb_77"},"date":"2026-10-01",'
        b'"flow":{"amount":-25.00}}\n'
        b'{"kind":"performance","account":{"id":"hb_77"},"date":"2026-10-01",'
        b'"period":"MTD","twr":0.00125}\n'
    ),
}


@pytest.mark.parametrize("vendor", FILES)
def test_the_same_facts_are_the_same_rows_whoever_delivers_them_in_whatever_format(
    vendor, tmp_path
):
    outcome = Outcome(read(tmp_path, FILES[vendor], vendor).rows, rules=shipped_rules())
    found = (
        outcome.values("valuations", "market_value"),
        outcome.values("external_flows", "amount"),
        outcome.values("reported_returns", "period, reported_return, decimals"),
    )
    fact = [("mtd", Decimal("0.00125"), 5)]
    assert found == ([Decimal(1000)], [Decimal(-25)], fact)


HOSTILE = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)) | st.sampled_from("'\";%\\\x00{}$"),
    max_size=30,
)


@examples(8)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                field: st.none() | HOSTILE | st.sampled_from(["1", "0.5", "daily", "USD"])
                for field in (
                    "account_id",
                    "market_value",
                    "external_flow",
                    "flow_timing",
                    "flow_weight",
                    "flow_id",
                    "flow_settlement_date",
                    "valuation_before_flow",
                    "fees",
                    "reported_return",
                    "reported_period",
                    "reported_basis",
                    "currency",
                    "fx_rate",
                    "account_class",
                    "extra",
                )
            }
        ),
        max_size=20,
    ),
    st.sampled_from(["standard", "northgate", "meridian", "harbor"]),
)
def test_no_delivered_text_stops_the_run_and_every_record_is_accounted_for(texts, vendor):
    rows = [record(line=line, vendor=vendor, **values) for line, values in enumerate(texts)]
    outcome = Outcome(rows)
    arrived, published, quarantined, deduplicated = outcome.totals if rows else (0, 0, 0, 0)
    assert (arrived, published + quarantined + deduplicated) == (len(rows), len(rows))


def test_two_results_can_be_held_on_one_connection():
    con = connect()
    first, _second = Outcome([valuation("1")], con=con), Outcome([valuation("2")], con=con)
    assert first.values("valuations", "market_value") == [Decimal(1)]
