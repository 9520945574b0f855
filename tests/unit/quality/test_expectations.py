"""Every expectation of every contract is fed data that must fail it."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache

import pyarrow as pa
import pytest

from pipeline_platform.quality.contracts import Contract, ExpectationResult
from pipeline_platform.quality.suites import run_suite
from pipeline_platform.quality.validation import validate
from tests.unit.quality.silver_rows import CONTRACTS, NOW, Row, as_table, good_row, good_rows

Damage = Callable[[list[Row]], pa.Table]

FUTURE = NOW.date() + timedelta(days=1)


def _with(table: str, **changes: object) -> Damage:
    """Damage one row, by setting some of its values."""
    return lambda rows: as_table(table, [*rows[:-1], {**rows[-1], **changes}])


def _damages_of_every_table(table: str) -> dict[str, Damage]:
    return {
        "account_id_is_given": _with(table, account_id=None),
        "account_id_has_a_fair_length": _with(table, account_id="A" * 65),
        "account_id_is_well_formed": _with(table, account_id="'; DROP TABLE valuations; --"),
        "as_of_date_is_given": _with(table, as_of_date=None),
        "as_of_date_is_plausible": _with(
            table, as_of_date=date(1989, 12, 31), as_of_month=date(1989, 12, 1)
        ),
        "as_of_month_is_not_after_the_day": _with(table, as_of_month=date(2026, 11, 1)),
        "as_of_date_is_not_in_the_future": _with(table, as_of_date=FUTURE),
        "vendor_is_known_by_name": _with(table, vendor="Vendor A"),
        "source_file_is_known": _with(table, file_sha256="short"),
        "source_line_is_known": _with(table, line_number=0),
        "versions_end_after_they_begin": _with(
            table, known_to=datetime(2026, 10, 1, tzinfo=NOW.tzinfo), is_current=False
        ),
        "current_versions_are_open": _with(table, known_to=NOW),
        "former_versions_are_closed": _with(table, is_current=False),
        "current_version_is_unique": lambda rows: as_table(table, [*rows, rows[-1]]),
        "vendor_is_given": _with(table, vendor=None),
        "source_line_is_given": _with(table, line_number=None),
        "known_from_is_given": _with(table, known_from=None),
        "is_current_is_given": _with(table, is_current=None),
        "known_from_is_not_in_the_future": _with(table, known_from=NOW + timedelta(days=1)),
        "columns_are_as_declared": lambda rows: as_table(table, rows).drop_columns(["vendor"]),
    }


def _currency(table: str) -> dict[str, Damage]:
    return {
        "currency_is_given": _with(table, currency=None),
        "currency_is_a_code": _with(table, currency="usd"),
    }


V, F, R = "valuations", "external_flows", "reported_returns"
DAMAGES: dict[str, dict[str, Damage]] = {
    V: {
        **_damages_of_every_table(V),
        **_currency(V),
        "market_value_is_given": _with(V, market_value=None),
        "market_value_is_not_negative": _with(V, market_value=Decimal("-0.0001")),
        "market_value_is_plausible": _with(V, market_value=Decimal("1000000000000.0001")),
        "fx_rate_is_positive": _with(V, fx_rate=Decimal(0)),
        "fees_are_plausible": _with(V, fees=Decimal("1000000000.0001")),
        "account_class_is_given": _with(V, account_class=None),
        "account_class_is_well_formed": _with(V, account_class="<script>"),
        "fees_are_rarely_refunded": _with(V, fees=Decimal("-0.01")),
        "months_are_not_empty": lambda _: as_table(V, []),
    },
    F: {
        **_damages_of_every_table(F),
        **_currency(F),
        "amount_is_given": _with(F, amount=None),
        "amount_is_plausible": _with(F, amount=Decimal("-1000000000000.0001")),
        "timing_is_given": _with(F, timing=None),
        "timing_is_known": _with(F, timing="noon"),
        "weight_is_a_fraction": _with(F, weight=Decimal("1.00000001")),
        "weight_belongs_to_weighted_flows": _with(F, timing="start_of_day"),
        "valuation_before_flow_is_plausible": _with(
            F, valuation_before_flow=Decimal("1000000000000.0001")
        ),
        "settlement_date_is_plausible": _with(F, settlement_date=date(9999, 12, 31)),
        "flows_settle_on_or_after_their_day": _with(F, settlement_date=date(2026, 10, 1)),
        "weighted_flows_can_be_measured": lambda rows: as_table(
            F, [{**row, "weight": None, "valuation_before_flow": None} for row in rows]
        ),
        "flow_sequence_is_counted": _with(F, flow_sequence=0),
        "flow_sequence_is_given": _with(F, flow_sequence=None),
    },
    R: {
        **_damages_of_every_table(R),
        "period_is_given": _with(R, period=None),
        "period_is_known": _with(R, period="weekly"),
        "basis_is_given": _with(R, basis=None),
        "basis_is_known": _with(R, basis="NET"),
        "reported_return_is_given": _with(R, reported_return=None),
        "reported_return_is_plausible": _with(R, reported_return=Decimal("10.000000000001")),
        "return_since_inception_is_plausible": _with(
            R, period="since_inception", reported_return=Decimal("-1.000000000001")
        ),
        "decimals_are_counted": _with(R, decimals=13),
        "decimals_are_given": _with(R, decimals=None),
    },
}
RULES = [
    (table, one.rule) for table, contract in CONTRACTS.items() for one in contract.expectations
]
every_rule = pytest.mark.parametrize(("table", "rule"), RULES)


def _only(table: str, rule: str) -> Contract:
    """Return the contract with one of its rules, which is quicker."""
    contract = CONTRACTS[table]
    chosen = [one for one in contract.expectations if one.rule == rule]
    return contract.model_copy(update={"expectations": chosen})


def _result(table: str, rule: str, rows: pa.Table) -> ExpectationResult:
    return validate(_only(table, rule), rows, now=NOW)[0]


@cache
def _damaged(table: str, rule: str) -> ExpectationResult:
    """What DuckDB says of the rows that must fail a rule."""
    return _result(table, rule, DAMAGES[table][rule](good_rows(table)))


def test_every_rule_has_data_that_fails_it() -> None:
    assert {(table, rule) for table in DAMAGES for rule in DAMAGES[table]} == set(RULES)


@pytest.mark.parametrize("table", CONTRACTS)
def test_good_rows_pass_every_rule(table: str) -> None:
    results = validate(CONTRACTS[table], as_table(table, good_rows(table)), now=NOW)
    assert [one for one in results if not one.passed] == []


@every_rule
def test_damaged_rows_fail(table: str, rule: str) -> None:
    result = _damaged(table, rule)
    assert (result.passed, str(result.observed).startswith("not evaluated")) == (False, False)


@every_rule
def test_great_expectations_fails_the_damaged_rows_alike(table: str, rule: str) -> None:
    rows = DAMAGES[table][rule](good_rows(table))
    assert run_suite(_only(table, rule), rows, now=NOW) == [_damaged(table, rule)]


@every_rule
def test_a_failure_has_the_severity_of_its_rule(table: str, rule: str) -> None:
    expectation = _only(table, rule).expectations[0]
    result = _damaged(table, rule)
    assert (result.severity, result.is_blocking) == (expectation.severity, expectation.is_blocking)


@every_rule
def test_a_limit_is_told_in_words(table: str, rule: str) -> None:
    assert _only(table, rule).expectations[0].limit


def test_a_negative_value_is_allowed_on_a_margin_account() -> None:
    row = good_row(V, market_value=Decimal("-5"), account_class="margin")
    assert _result(V, "market_value_is_not_negative", as_table(V, [row])).passed


def test_a_return_since_inception_may_be_more_than_tenfold() -> None:
    row = good_row(R, period="since_inception", reported_return=Decimal("25"))
    assert _result(R, "reported_return_is_plausible", as_table(R, [row])).passed


def test_a_weighted_flow_may_have_neither_weight_nor_value_before() -> None:
    rows = [good_row(F, weight=None, valuation_before_flow=None)]
    results = validate(CONTRACTS[F], as_table(F, rows), now=NOW)
    assert [one.rule for one in results if one.is_blocking and not one.passed] == []


def test_a_failure_says_how_many_of_how_many_rows_break_the_rule() -> None:
    result = _result(V, "currency_is_a_code", _with(V, currency="usd")(good_rows(V)))
    assert (result.observed, result.failing_count) == ("1 of 11 rows break it", 1)


def test_a_failing_sample_names_value_account_day_file_and_line() -> None:
    result = _result(V, "currency_is_a_code", _with(V, currency="usd")(good_rows(V)))
    assert set(result.failing_sample[0]) == {
        "account_id",
        "as_of_date",
        "file_sha256",
        "line_number",
        "currency",
    }


def test_a_failing_sample_has_ten_rows_at_most() -> None:
    rows = [good_row(V, currency="usd", line_number=line) for line in range(1, 40)]
    assert len(_result(V, "currency_is_a_code", as_table(V, rows)).failing_sample) == 10


def test_a_column_that_is_missing_fails_its_rules() -> None:
    rows = as_table(V, good_rows(V)).drop_columns(["currency"])
    assert not _result(V, "currency_is_a_code", rows).passed


def test_an_empty_delivery_breaks_no_blocking_rule() -> None:
    results = [one for t in CONTRACTS for one in validate(CONTRACTS[t], as_table(t, []), now=NOW)]
    assert [one.rule for one in results if one.is_blocking and not one.passed] == []


@pytest.mark.parametrize("table", CONTRACTS)
@pytest.mark.parametrize("missing", ["currency", "is_current", "as_of_date"])
def test_both_engines_say_which_column_is_missing(table: str, missing: str) -> None:
    rows = as_table(table, good_rows(table))
    rows = rows.drop_columns([missing] if missing in rows.column_names else ["vendor"])
    found = validate(CONTRACTS[table], rows, now=NOW)
    assert run_suite(CONTRACTS[table], rows, now=NOW) == found


@pytest.mark.parametrize("table", CONTRACTS)
def test_both_engines_say_the_same_of_no_files(table: str) -> None:
    assert run_suite(CONTRACTS[table], [], now=NOW) == validate(CONTRACTS[table], [], now=NOW)


def test_no_files_at_all_break_no_blocking_rule() -> None:
    results = [one for table in CONTRACTS for one in validate(CONTRACTS[table], [], now=NOW)]
    assert [one.rule for one in results if one.is_blocking and not one.passed] == []
