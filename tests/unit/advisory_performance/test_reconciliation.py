"""What agrees, what breaks a tolerance, and who is missing (SA-14, SA-63, SA-72, X-11)."""

import random
from datetime import date
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.reconciliation import (
    Tolerances,
    reconcile,
    reconciliation_report,
)
from pipeline_platform.advisory_performance.reconciliation_rates import (
    completeness,
    difference_variance,
    open_accounts,
    rates,
    return_variance,
)
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    PERIODS,
    RECONCILIATION,
    REPORTED_RETURNS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.failures import InvalidRunbookError
from tests.examples import examples
from tests.unit.advisory_performance.sample_accounts import (
    Sample,
    business_days,
    clean_account,
    table,
)

DAY = date(2024, 3, 5)
NEXT = date(2024, 3, 6)


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def ours(day=DAY, account="A1", **columns):
    base = {"account_id": account, "as_of_date": day, "market_value": Decimal(100)}
    returns = {name: value for name, value in columns.items() if "_return_" in name}
    other = {name: value for name, value in columns.items() if name not in returns}
    return {**base, **other, **{name: Decimal(value) for name, value in returns.items()}}


def theirs(value, day=DAY, account="A1", **columns):
    base = {"account_id": account, "as_of_date": day, "reported_return": Decimal(value)}
    return {**base, **columns}


def rulings(con, our_rows, their_rows, tolerances=None):
    relation = reconcile(
        con,
        con.from_arrow(table(TIME_WEIGHTED_RETURNS.schema, our_rows)),
        con.from_arrow(table(REPORTED_RETURNS.schema, their_rows)),
        tolerances or Tolerances(),
    )
    return relation.order("account_id, as_of_date, period, basis").to_arrow_table().to_pylist()


def status(con, our_rows, their_rows, tolerances=None):
    return [row["reconciliation_status"] for row in rulings(con, our_rows, their_rows, tolerances)]


def test_the_relation_has_exactly_the_columns_and_types_of_the_table(con):
    relation = reconcile(
        con,
        con.from_arrow(table(TIME_WEIGHTED_RETURNS.schema, [ours(net_return_daily="0.01")])),
        con.from_arrow(table(REPORTED_RETURNS.schema, [theirs("0.01")])),
        Tolerances(),
    )

    found = relation.to_arrow_table().schema

    assert [(field.name, field.type) for field in found] == [
        (field.name, field.type) for field in RECONCILIATION.schema
    ]


def test_required_columns_are_never_null(con):
    rows = rulings(
        con,
        [ours(net_return_daily="0.01"), ours(NEXT, net_return_daily="0.01")],
        [theirs("0.01"), theirs("0.02", account="B1")],
    )

    required = [field.name for field in RECONCILIATION.schema if not field.nullable]

    assert all(row[name] is not None for row in rows for name in required)


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        ("0.010100000000", "COMPLETED"),
        ("0.009900000000", "COMPLETED"),
        ("0.010100000100", "BREACH"),
        ("-0.010000000000", "BREACH"),
    ],
)
def test_a_difference_of_exactly_the_tolerance_is_completed(con, vendor, expected):
    assert status(con, [ours(net_return_daily="0.01")], [theirs(vendor)]) == [expected]


@examples(8)
@given(
    st.lists(
        st.tuples(st.decimals("-2", "2", places=12), st.decimals("-2", "2", places=12)),
        min_size=1,
        max_size=40,
    )
)
def test_the_difference_is_exact_in_decimals(figures):
    accounts = {f"A{number}": pair for number, pair in enumerate(figures)}
    with duckdb.connect() as con:
        found = rulings(
            con,
            [ours(account=each, net_return_daily=pair[0]) for each, pair in accounts.items()],
            [theirs(pair[1], account=each) for each, pair in accounts.items()],
        )

    exact = {each: (ours_ - theirs_) * 10_000 for each, (ours_, theirs_) in accounts.items()}
    assert {
        row["account_id"]: abs(row["difference_bps"] - exact[row["account_id"]])
        <= Decimal("0.0000005")
        for row in found
    } == dict.fromkeys(accounts, True)


def test_every_period_is_compared_with_its_own_figure(con):
    values = {period: Decimal(number) / 100 for number, period in enumerate(PERIODS, start=1)}
    row = ours(**{f"net_return_{period}": value for period, value in values.items()})

    found = rulings(con, [row], [theirs(value, period=period) for period, value in values.items()])

    assert {one["reconciliation_status"] for one in found} == {"COMPLETED"}


def test_gross_figures_are_compared_with_our_gross_return(con):
    row = ours(net_return_daily="0.01", gross_return_daily="0.02")

    assert status(con, [row], [theirs("0.02", basis="gross")]) == ["COMPLETED"]


def test_the_vendors_file_and_line_are_kept(con):
    found = rulings(con, [ours(net_return_daily="0.01")], [theirs("0.5", line_number=17)])[0]

    assert (found["vendor_file_sha256"], found["vendor_line_number"]) == ("ab" * 32, 17)


def test_a_day_without_their_figure_is_missing_vendor_if_they_report_that_account_daily(con):
    our_rows = [ours(net_return_daily="0.01"), ours(NEXT, net_return_daily="0.02")]

    assert status(con, our_rows, [theirs("0.01")]) == ["COMPLETED", "MISSING_VENDOR"]


def test_nothing_is_expected_of_an_account_that_the_vendor_never_reports(con):
    our_rows = [ours(net_return_daily="0.01"), ours(account="B1", net_return_daily="0.02")]

    assert status(con, our_rows, [theirs("0.01")]) == ["COMPLETED"]


def test_nothing_is_expected_on_a_day_that_is_not_measured(con):
    our_rows = [
        ours(net_return_daily="0.01"),
        ours(NEXT, return_status="no_assets"),
    ]

    assert status(con, our_rows, [theirs("0.01")]) == ["COMPLETED"]


def test_a_month_figure_is_expected_where_the_vendor_gave_other_accounts_theirs(con):
    january, february = date(2024, 1, 31), date(2024, 2, 29)
    our_rows = [
        ours(day, account, net_return_mtd="0.01")
        for day in (january, february)
        for account in ("A1", "B1")
    ]
    their_rows = [
        theirs("0.01", january, "A1", period="mtd"),
        theirs("0.01", january, "B1", period="mtd"),
        theirs("0.01", february, "A1", period="mtd"),
    ]

    found = rulings(con, our_rows, their_rows)

    assert [
        (row["account_id"], row["as_of_date"])
        for row in found
        if row["reconciliation_status"] == "MISSING_VENDOR"
    ] == [("B1", february)]


def test_a_month_figure_is_not_expected_in_the_middle_of_a_month(con):
    end = date(2024, 3, 29)
    our_rows = [ours(net_return_mtd="0.01"), ours(end, net_return_mtd="0.02")]

    assert status(con, our_rows, [theirs("0.02", end, period="mtd")]) == ["COMPLETED"]


def test_a_figure_without_a_row_of_ours_is_missing_ours(con):
    assert status(con, [], [theirs("0.01")]) == ["MISSING_OURS"]


def test_a_measured_day_without_the_figure_is_missing_ours(con):
    row = ours(record_start_date=date(2020, 1, 1))

    assert status(con, [row], [theirs("0.01", period="one_year")]) == ["MISSING_OURS"]


@pytest.mark.parametrize("why", ["inception", "no_assets", "non_positive_base"])
def test_a_day_whose_return_is_undefined_is_pending(con, why):
    assert status(con, [ours(return_status=why)], [theirs("0.01")]) == ["PENDING"]


@pytest.mark.parametrize(
    ("start", "expected"), [(date(2023, 3, 5), "MISSING_OURS"), (date(2023, 3, 6), "PENDING")]
)
def test_a_record_shorter_than_the_period_is_pending(con, start, expected):
    row = ours(record_start_date=start)

    assert status(con, [row], [theirs("0.1", period="one_year")]) == [expected]


def test_a_gross_figure_without_known_fees_is_pending(con):
    row = ours(net_return_daily="0.01")

    assert status(con, [row], [theirs("0.01", basis="gross")]) == ["PENDING"]


def test_superseded_versions_are_left_out(con):
    our_rows = [ours(net_return_daily="0.01"), ours(net_return_daily="0.5", is_current=False)]
    their_rows = [theirs("0.01"), theirs("0.7", is_current=False)]

    assert status(con, our_rows, their_rows) == ["COMPLETED"]


def test_an_account_that_only_the_vendor_knows_has_the_unknown_class(con):
    assert rulings(con, [], [theirs("0.01")])[0]["account_class"] == "unknown"


def test_reconciling_does_not_depend_on_the_order_of_rows(con):
    sample = Sample([clean_account(number, random.Random(number)) for number in range(5)])
    for account in sample.accounts:
        sample.report(account, ("daily", "mtd"))
    returns, reported = sample.returns(con), sample.reported(con)

    one = reconcile(con, returns, reported, Tolerances()).order("ALL").fetchall()
    other = (
        reconcile(
            con,
            returns.order("market_value DESC"),
            reported.order("reported_return"),
            Tolerances(),
        )
        .order("ALL")
        .fetchall()
    )

    assert one == other


SPECIFIC = {
    (None, None, "daily"): 2,
    (None, "private", None): 3,
    (None, "private", "daily"): 4,
    ("standard", None, None): 5,
    ("standard", None, "mtd"): 6,
    ("standard", "private", "daily"): 7,
}


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (("harbor", "institutional", "mtd"), 20),
        (("harbor", "institutional", "daily"), 2),
        (("harbor", "private", "mtd"), 3),
        (("harbor", "private", "daily"), 4),
        (("standard", "private", "ytd"), 5),
        (("standard", "private", "mtd"), 6),
        (("standard", "private", "daily"), 7),
    ],
)
def test_the_most_specific_tolerance_wins(figure, expected):
    assert Tolerances(daily_bps=10, longer_bps=20, overrides=SPECIFIC).of(*figure) == expected


def test_the_query_uses_the_same_tolerance_as_the_function(con):
    tolerances = Tolerances(daily_bps=10, longer_bps=20, overrides=SPECIFIC)
    figures = [
        (vendor, account_class, period)
        for vendor in ("standard", "harbor", "o'brien")
        for account_class in ("private", "institutional")
        for period in ("daily", "mtd", "ytd")
    ]
    our_rows = [
        ours(account=f"{vendor}{kind}", vendor=vendor, account_class=kind)
        for vendor, kind in sorted({figure[:2] for figure in figures})
    ]
    their_rows = [
        theirs("0.01", account=f"{vendor}{kind}", vendor=vendor, period=period)
        for vendor, kind, period in figures
    ]

    found = rulings(con, our_rows, their_rows, tolerances)

    assert {
        (row["vendor"], row["account_class"], row["period"]): row["tolerance_bps"] for row in found
    } == {figure: tolerances.of(*figure) for figure in figures}


def test_a_wider_tolerance_completes_without_reloading(con):
    rows = [ours(net_return_daily="0.01")], [theirs("0.0102")]

    assert status(con, *rows, Tolerances(overrides={("standard", None, None): 2})) == ["COMPLETED"]


@pytest.mark.parametrize(
    "wrong", [{"daily_bps": -1}, {"longer_bps": float("nan")}, {"overrides": {("x", None, "d"): 1}}]
)
def test_an_unusable_tolerance_is_refused(wrong):
    with pytest.raises(InvalidRunbookError):
        Tolerances(**wrong)


def test_the_report_shows_both_figures_in_percent(con):
    relation = reconcile(
        con,
        con.from_arrow(table(TIME_WEIGHTED_RETURNS.schema, [ours(net_return_daily="0.0123")])),
        con.from_arrow(table(REPORTED_RETURNS.schema, [theirs("0.0120")])),
        Tolerances(),
    )

    report = reconciliation_report(con, relation).to_arrow_table().to_pylist()[0]

    assert (report["our_return_pct"], report["vendor_return_pct"], report["difference_bps"]) == (
        Decimal("1.23"),
        Decimal("1.2"),
        Decimal(3),
    )


def with_statuses(con, counts, vendor="standard"):
    rows = [
        {
            "account_id": f"{status}{number}",
            "as_of_date": DAY,
            "vendor": vendor,
            "reconciliation_status": status,
            "tolerance_bps": Decimal(1),
        }
        for status, count in counts.items()
        for number in range(count)
    ]
    return con.from_arrow(table(RECONCILIATION.schema, rows))


MIXED = {"COMPLETED": 90, "BREACH": 5, "MISSING_VENDOR": 3, "MISSING_OURS": 2, "PENDING": 50}


def test_the_pass_rate_counts_missing_counterparts_but_not_pending(con):
    assert rates(con, with_statuses(con, MIXED)).pass_rate == 0.9


def test_the_violation_rate_looks_at_compared_figures_only(con):
    assert rates(con, with_statuses(con, MIXED)).violation_rate == 5 / 95


def test_rates_are_not_measurable_without_figures(con):
    assert rates(con, with_statuses(con, {"PENDING": 3})).pass_rate is None


def test_rates_are_also_given_per_vendor(con):
    both = with_statuses(con, MIXED).union(with_statuses(con, {"BREACH": 4}, "harbor"))

    assert rates(con, both).by_vendor["harbor"].violation_rate == 1.0


def measured_days(days, spread, chance):
    return [
        ours(day, f"A{number}", net_return_daily=str(round(chance.gauss(0, spread), 12)))
        for day in days
        for number in range(40)
    ]


def variance(con, today, days=30):
    chance = random.Random(7)
    dates = business_days(date(2024, 1, 1), days + 1)
    history = table(TIME_WEIGHTED_RETURNS.schema, measured_days(dates[:-1], 0.01, chance))
    latest = table(TIME_WEIGHTED_RETURNS.schema, measured_days(dates[-1:], today, chance))
    return return_variance(con, con.from_arrow(latest), con.from_arrow(history))[0]


def test_a_usual_day_has_a_small_robust_z(con):
    assert abs(variance(con, 0.01).robust_z) < 3.5


def test_a_day_with_five_times_the_spread_stands_out(con):
    assert variance(con, 0.05).robust_z > 3.5


def test_the_ratio_says_how_many_times_the_usual_spread_it_is(con):
    assert variance(con, 0.05).ratio == pytest.approx(5, rel=0.3)


def test_a_short_history_is_not_measurable(con):
    assert "10 are needed" in variance(con, 0.05, days=4).reason


def test_the_variance_of_differences_stands_out_too(con):
    chance = random.Random(3)
    dates = business_days(date(2024, 1, 1), 21)
    rows = [
        {
            "account_id": f"A{number}",
            "as_of_date": day,
            "period": "daily",
            "difference_bps": Decimal(str(round(chance.gauss(0, 5 if day == dates[-1] else 1), 6))),
            "tolerance_bps": Decimal(1),
            "reconciliation_status": "COMPLETED",
        }
        for day in dates
        for number in range(30)
    ]
    whole = con.from_arrow(table(RECONCILIATION.schema, rows))
    today = whole.filter(f"as_of_date = DATE '{dates[-1]}'")

    assert difference_variance(con, today, whole)[0].robust_z > 3.5


def values(rows):
    return table(
        VALUATIONS.schema,
        [
            {"account_id": account, "as_of_date": day, "market_value": Decimal(amount)}
            for account, day, amount in rows
        ],
    )


def open_since(con, *accounts):
    rows = ", ".join(f"('{a}', 'standard', DATE '{f}', {last})" for a, f, last in accounts)
    return con.sql(f"SELECT * FROM (VALUES {rows}) t(account_id, vendor, first_date, last_date)")


MONDAY, TUESDAY, SATURDAY = date(2024, 3, 4), date(2024, 3, 5), date(2024, 3, 9)


def test_an_open_account_is_expected_on_every_day_that_the_vendor_delivered(con):
    came = con.from_arrow(values([("A1", MONDAY, 1), ("A1", TUESDAY, 1), ("B1", MONDAY, 1)]))
    accounts = open_since(con, ("A1", MONDAY, "NULL"), ("B1", MONDAY, "NULL"))

    found = completeness(con, came, accounts)

    assert (found.value, found.offenders) == (0.75, ("B1 2024-03-05",))


def test_a_delivery_on_a_weekend_makes_nobody_late(con):
    came = con.from_arrow(values([("A1", MONDAY, 1), ("B1", MONDAY, 1), ("A1", SATURDAY, 1)]))
    accounts = open_since(con, ("A1", MONDAY, "NULL"), ("B1", MONDAY, "NULL"))

    assert completeness(con, came, accounts).value == 1.0


def test_a_closed_account_is_not_expected_after_its_last_day(con):
    came = con.from_arrow(values([("A1", MONDAY, 1), ("A1", TUESDAY, 1), ("B1", MONDAY, 0)]))
    accounts = open_since(con, ("A1", MONDAY, "NULL"), ("B1", MONDAY, f"DATE '{MONDAY}'"))

    assert completeness(con, came, accounts).value == 1.0


def test_completeness_without_any_delivery_is_not_measurable(con):
    accounts = open_since(con, ("A1", MONDAY, "NULL"))

    assert completeness(con, con.from_arrow(values([])), accounts).value is None


def test_open_accounts_come_from_last_months_state_and_this_months_values(con):
    state = {
        "account_id": "A1",
        "as_of_date": date(2024, 2, 29),
        "market_value": Decimal(1),
        "is_record_open": True,
    }
    states = con.from_arrow(table(ACCOUNT_STATES.schema, [state]))
    came = con.from_arrow(values([("B1", TUESDAY, 5), ("C1", MONDAY, 5), ("C1", TUESDAY, 0)]))

    found = open_accounts(con, came, states).order("account_id").fetchall()

    assert found == [
        ("A1", "standard", date(2024, 3, 1), None),
        ("B1", "standard", TUESDAY, None),
        ("C1", "standard", MONDAY, TUESDAY),
    ]
