"""Time-weighted returns: worked examples, the definition of every edge case, and laws.

Published examples are named where they are used; the arithmetic stands beside them.
"""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.return_tables import fractions_to_decimals
from pipeline_platform.advisory_performance.tables import COMPUTED_STATES, RETURN_COLUMNS
from pipeline_platform.advisory_performance.twrr import (
    Returns,
    ReturnSettings,
    compute_returns,
    iterate_returns,
)
from tests.examples import examples
from tests.unit.advisory_performance.return_inputs import (
    CALENDAR,
    Flow,
    Value,
    day,
    external_flows,
    figures,
    returns_of,
    rows_of,
    valuations,
)
from tests.unit.advisory_performance.returns_by_definition import expected_returns

MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = (date(2026, 3, number) for number in range(2, 7))
DAYS_365 = ReturnSettings(annualisation_basis="365")


class TestWorkedExamples:
    def test_two_years_of_the_cfa_curriculum_as_in_fincal(self):
        """FinCal `twrr(ev=c(120,260), bv=c(100,240), cfr=c(2,4))` = 0.1584472 (rdrr.io).

        A share bought at 100, worth 120 after a dividend of 2; a second one bought; both worth
        260 after dividends of 4: sqrt(122/100 * 264/240) - 1.
        """
        values = [
            Value(day("2022-01-01"), "100"),
            Value(day("2023-01-01"), "240"),
            Value(day("2024-01-01"), "260"),
        ]
        flows = [
            Flow(day("2023-01-01"), "-2"),
            Flow(day("2023-01-01"), "120", sequence=1),
            Flow(day("2024-01-01"), "-4"),
        ]
        found = figures("net_return_since_inception_annualised", values, flows)
        assert found[-1] == "0.158447236606"

    def test_modified_dietz_of_wikipedia(self):
        """100 grows to 300 with 50 added half way: 150 / (100 + 50 / 2) = 120 %."""
        values = [Value(date(2026, 3, 1), "100"), Value(date(2026, 3, 5), "300")]
        flows = [Flow(date(2026, 3, 3), "50")]
        assert figures("net_return_daily", values, flows) == [None, "1.2"]

    def test_modified_dietz_of_the_tiko_manual(self):
        """100,000 grows to 112,000 with 10,000 added on day 45 of 90: 0.01904761904761905."""
        start = date(2026, 1, 1)
        values = [Value(start, "100000"), Value(start + timedelta(days=90), "112000")]
        flows = [Flow(start + timedelta(days=45), "10000")]
        assert figures("net_return_daily", values, flows) == [None, "0.019047619048"]

    @pytest.mark.parametrize(
        ("before", "expected"),
        [
            # Modified Dietz: -6.9 / (74.2 + 37.1 * 17/31) = -7.30 %
            (None, "-0.072980995599"),
            # True time-weighted: 67.0/74.2 * 104.4/(67.0 + 37.1) - 1 = -9.44 %
            ("67.0", "-0.094432835937"),
        ],
    )
    def test_a_flow_within_a_month_with_and_without_a_valuation(self, before, expected):
        """74.2 m at 31 December, 104.4 m at 31 January, 37.1 m in on 14 January.

        Just before the flow it was worth 67.0 m, where that is known.
        """
        values = [Value(day("2025-12-31"), "74.2"), Value(day("2026-01-31"), "104.4")]
        flows = [Flow(day("2026-01-14"), "37.1", "end_of_day", before=before)]
        assert figures("net_return_daily", values, flows)[-1] == expected

    def test_sub_periods_of_the_wealthsimple_challenge(self):
        """100, then 120 after 15 came in, then 127 after 10 came in: 5 % and -2.5 %."""
        values = [Value(MONDAY, "100"), Value(TUESDAY, "120"), Value(WEDNESDAY, "127")]
        flows = [Flow(TUESDAY, "15"), Flow(WEDNESDAY, "10")]
        assert figures("net_return_since_inception", values, flows)[-1] == "0.02375"

    def test_twelve_linked_months_of_the_tiko_manual(self):
        """Twelve monthly returns link to 0.1410864155548182."""
        months = [0.02, -0.01, 0.03, 0.015, -0.025, 0.04, 0.01, -0.005, 0.02, 0.03, -0.015, 0.025]
        worth = Decimal(10**11)
        values = [Value(day("2025-12-31"), str(worth))]
        for number, growth in enumerate(months, start=1):
            worth = round(worth * (1 + Decimal(str(growth))), 4)
            values.append(Value(date(2026, number, 28), str(worth)))
        assert figures("net_return_ytd", values)[-1] == "0.141086415555"


class TestFlowTiming:
    VALUES = (Value(MONDAY, "1000"), Value(TUESDAY, "1650"))

    @pytest.mark.parametrize(
        ("flow", "expected"),
        [
            (Flow(TUESDAY, "500", "start_of_day"), "0.1"),  # 1650 / 1500
            (Flow(TUESDAY, "500", "end_of_day"), "0.15"),  # (1650 - 500) / 1000
            (Flow(TUESDAY, "500", "weighted", "0.25"), "0.133333333333"),  # 150 / 1125
            (Flow(TUESDAY, "500", "weighted"), "0.12"),  # 150 / 1250, assumed at mid-day
            (Flow(TUESDAY, "500", "weighted", before="1100"), "0.134375"),  # 1.1 * 1650/1600
            (Flow(TUESDAY, "500", "start_of_day", before="1010"), "0.103642384106"),
        ],
    )
    def test_daily_return_by_timing(self, flow, expected):
        assert figures("net_return_daily", self.VALUES, [flow])[-1] == expected

    @pytest.mark.parametrize(
        ("flow", "is_estimated"),
        [
            (Flow(TUESDAY, "500", "start_of_day"), "False"),
            (Flow(TUESDAY, "500", "end_of_day"), "False"),
            (Flow(TUESDAY, "500", "weighted", "1"), "False"),
            (Flow(TUESDAY, "500", "weighted", "0.25"), "True"),
            (Flow(TUESDAY, "500", "weighted"), "True"),
            (Flow(TUESDAY, "500", "weighted", before="1100"), "False"),
        ],
    )
    def test_only_an_assumed_course_of_value_is_estimated(self, flow, is_estimated):
        assert figures("is_estimated", self.VALUES, [flow])[-1] == is_estimated

    def test_two_valuations_before_flows_give_three_sub_periods(self):
        """1100/1000 * 1500/1600 * 1650/1400 with 500 in at 1100 and 100 out at 1500."""
        flows = [
            Flow(TUESDAY, "500", "weighted", "0.75", before="1100"),
            Flow(TUESDAY, "-100", "weighted", "0.25", before="1500", sequence=1),
        ]
        assert figures("net_return_daily", self.VALUES, flows)[-1] == "0.215401785714"

    def test_flows_without_times_split_the_day_in_order_of_their_sequence(self):
        flows = [
            Flow(TUESDAY, "-100", "weighted", before="1500", sequence=2),
            Flow(TUESDAY, "500", "weighted", before="1100", sequence=1),
        ]
        assert figures("net_return_daily", self.VALUES, flows)[-1] == "0.215401785714"

    def test_a_flow_beside_a_valuation_is_weighted_within_its_sub_period(self):
        """Out at mid-day at a value of 1100; 100 in at a quarter of the rest: 0.125/0.5 left."""
        flows = [
            Flow(TUESDAY, "500", "weighted", "0.5", before="1100"),
            Flow(TUESDAY, "100", "weighted", "0.125"),
        ]
        # 1.1 * (1650 - 75) / (1600 + 25) - 1
        assert figures("net_return_daily", self.VALUES, flows)[-1] == "0.066153846154"


class TestMissingDays:
    def test_a_weekend_without_flows_is_one_exact_return(self):
        values = [Value(FRIDAY, "100"), Value(FRIDAY + timedelta(days=3), "103")]
        row = rows_of(values)[-1]
        assert (row["net_return_daily"], row["is_estimated"]) == (Decimal("0.03"), False)

    def test_a_flow_on_mondays_start_is_not_diluted_by_the_weekend(self):
        monday = FRIDAY + timedelta(days=3)
        values = [Value(FRIDAY, "100"), Value(monday, "220")]
        flows = [Flow(monday, "100", "start_of_day")]
        assert figures("net_return_daily", values, flows)[-1] == "0.1"

    def test_a_flow_on_a_day_without_valuation_is_weighted_by_days(self):
        """In at Wednesday's start, Monday to Friday: 3 of 4 days; (216-100-100)/(100+75)."""
        values = [Value(MONDAY, "100"), Value(FRIDAY, "216")]
        flows = [Flow(WEDNESDAY, "100", "start_of_day")]
        row = rows_of(values, flows)[-1]
        assert (row["net_return_daily"], row["is_estimated"]) == (Decimal("0.091428571429"), True)

    def test_every_flow_in_a_gap_is_an_estimate_even_with_its_whole_time_in_the_account(self):
        values = [Value(MONDAY, "100"), Value(FRIDAY, "220")]
        row = rows_of(values, [Flow(TUESDAY, "100", "start_of_day")])[-1]
        assert (row["net_return_daily"], row["is_estimated"]) == (Decimal("0.1"), True)

    def test_a_valuation_at_a_flow_in_the_gap_makes_it_exact(self):
        values = [Value(MONDAY, "100"), Value(FRIDAY, "220")]
        flows = [Flow(WEDNESDAY, "100", "weighted", before="100")]
        row = rows_of(values, flows)[-1]
        assert (row["net_return_daily"], row["is_estimated"]) == (Decimal("0.1"), False)

    def test_flows_since_the_last_valuation_are_summed(self):
        values = [Value(MONDAY, "100"), Value(FRIDAY, "216")]
        flows = [Flow(WEDNESDAY, "100.01"), Flow(FRIDAY, "-0.03")]
        assert figures("net_external_flow", values, flows) == ["0", "99.98"]

    def test_a_flow_before_the_first_valuation_belongs_to_no_return(self):
        values = [Value(WEDNESDAY, "100"), Value(THURSDAY, "101")]
        flows = [Flow(MONDAY, "100", "start_of_day")]
        assert figures("net_return_since_inception", values, flows) == [None, "0.01"]


class TestRecords:
    def test_the_first_day_without_a_flow_is_the_base(self):
        row = rows_of([Value(MONDAY, "100")])[0]
        assert (row["return_status"], row["net_growth_index"], row["net_return_mtd"]) == (
            "inception",
            1.0,
            None,
        )

    def test_no_figure_at_all_on_a_first_day_that_only_gives_the_base(self):
        row = rows_of([Value(MONDAY, "100", "0")])[0]
        assert [row[name] for name in RETURN_COLUMNS] == [None] * len(RETURN_COLUMNS)

    def test_a_first_day_opened_by_a_flow_at_its_start_has_a_return(self):
        rows = rows_of([Value(MONDAY, "102")], [Flow(MONDAY, "100", "start_of_day")])
        assert (rows[0]["return_status"], rows[0]["net_return_ytd"]) == (
            "inception",
            Decimal("0.02"),
        )

    def test_a_first_day_with_a_flow_at_its_end_only_gives_the_base(self):
        rows = rows_of([Value(MONDAY, "102")], [Flow(MONDAY, "100", "end_of_day")])
        assert (rows[0]["net_return_daily"], rows[0]["net_growth_index"]) == (None, 1.0)

    def test_full_withdrawal_at_the_days_end_is_measured_and_closes_the_record(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "0"), Value(WEDNESDAY, "0")]
        flows = [Flow(TUESDAY, "-103", "end_of_day")]
        assert figures("return_status", values, flows) == ["inception", "measured", "no_assets"]

    def test_full_withdrawal_at_the_days_end_keeps_its_return(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "0"), Value(WEDNESDAY, "0")]
        flows = [Flow(TUESDAY, "-103", "end_of_day")]
        assert figures("net_return_since_inception", values, flows) == [None, "0.03", None]

    def test_full_withdrawal_at_the_days_start_leaves_no_assets_to_measure(self):
        values = [Value(MONDAY, "100.1"), Value(TUESDAY, "0")]
        flows = [Flow(TUESDAY, "-50.05", "start_of_day", sequence=n) for n in (1, 2)]
        assert figures("return_status", values, flows) == ["inception", "no_assets"]

    def test_reentry_starts_a_new_record(self):
        values = [
            Value(MONDAY, "100"),
            Value(TUESDAY, "0"),
            Value(WEDNESDAY, "51"),
            Value(THURSDAY, "102"),
        ]
        flows = [Flow(TUESDAY, "-200"), Flow(WEDNESDAY, "50", "start_of_day")]
        found = zip(
            figures("record_start_date", values, flows),
            figures("net_return_since_inception", values, flows),
            strict=True,
        )
        assert list(found)[2:] == [("2026-03-04", "0.02"), ("2026-03-04", "1.04")]

    def test_total_loss_is_a_measured_return_and_closes_the_record(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "0"), Value(WEDNESDAY, "0")]
        found = zip(
            figures("return_status", values), figures("net_return_mtd", values), strict=True
        )
        assert list(found)[1:] == [("measured", "-1"), ("no_assets", None)]

    def test_a_loss_of_more_than_everything_is_measured_and_closes_the_record(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "-20"), Value(WEDNESDAY, "5")]
        assert figures("net_return_since_inception", values) == [None, "-1.2", None]

    def test_a_negative_opening_value_has_no_return(self):
        values = [Value(MONDAY, "-5"), Value(TUESDAY, "10"), Value(WEDNESDAY, "11")]
        assert figures("return_status", values) == [
            "non_positive_base",
            "non_positive_base",
            "inception",
        ]

    def test_the_record_after_a_negative_base_loses_no_day(self):
        values = [Value(MONDAY, "-5"), Value(TUESDAY, "10"), Value(WEDNESDAY, "11")]
        assert figures("net_return_since_inception", values) == [None, None, "0.1"]

    def test_a_base_that_is_withdrawn_before_the_day_begins_is_not_positive(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "1")]
        flows = [Flow(TUESDAY, "-100", "start_of_day")]
        assert figures("return_status", values, flows)[-1] == "non_positive_base"

    def test_a_return_of_a_million_or_more_counts_as_no_base(self):
        values = [Value(MONDAY, "0.0001"), Value(TUESDAY, "1000"), Value(WEDNESDAY, "1010")]
        found = zip(
            figures("return_status", values), figures("net_return_daily", values), strict=True
        )
        assert list(found)[1:] == [("non_positive_base", None), ("inception", "0.01")]

    def test_another_currency_starts_a_new_record(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "90", currency="EUR")]
        row = rows_of(values)[-1]
        assert (row["return_status"], row["opening_value"], row["net_return_daily"]) == (
            "inception",
            None,
            None,
        )

    def test_a_flow_in_another_currency_starts_a_new_record(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "190")]
        flows = [Flow(TUESDAY, "80", "start_of_day", currency="EUR")]
        row = rows_of(values, flows)[-1]
        assert (row["return_status"], row["net_external_flow"]) == ("inception", Decimal(0))

    def test_money_in_and_out_on_one_day_is_a_record_of_one_day(self):
        flows = [
            Flow(MONDAY, "100", "start_of_day"),
            Flow(MONDAY, "-101", "end_of_day", sequence=1),
        ]
        rows = rows_of([Value(MONDAY, "0"), Value(TUESDAY, "0")], flows)
        assert [(row["return_status"], row["net_return_daily"]) for row in rows] == [
            ("inception", Decimal("0.01")),
            ("no_assets", None),
        ]


class TestFees:
    def test_gross_adds_the_days_fees_back(self):
        values = [Value(MONDAY, "100", "0"), Value(TUESDAY, "101", "0.5")]
        assert figures("gross_return_daily", values)[-1] == "0.015"

    def test_gross_is_null_where_fees_are_not_given(self):
        values = [Value(MONDAY, "100"), Value(TUESDAY, "101")]
        assert figures("gross_return_daily", values)[-1] is None

    def test_fees_missing_on_one_day_end_gross_linking(self):
        values = [
            Value(MONDAY, "100", "0"),
            Value(TUESDAY, "101", None),
            Value(WEDNESDAY, "102", "0"),
        ]
        row = rows_of(values)[-1]
        assert (row["gross_return_daily"] is None, row["gross_return_mtd"]) == (False, None)

    def test_fees_belong_to_the_last_sub_period(self):
        values = [Value(MONDAY, "1000", "0"), Value(TUESDAY, "1650", "16")]
        flows = [Flow(TUESDAY, "500", "weighted", before="1100")]
        assert figures("gross_return_daily", values, flows)[-1] == "0.145375"


class TestPeriods:
    VALUES = (
        Value(day("2025-11-30"), "100"),
        Value(day("2025-12-31"), "110"),
        Value(day("2026-01-31"), "121"),
        Value(day("2026-02-15"), "133.1"),
        Value(day("2026-03-01"), "146.41"),
    )

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            ("net_return_mtd", [None, "0.1", "0.1", "0.1", "0.1"]),
            ("net_return_qtd", [None, "0.1", "0.1", "0.21", "0.331"]),
            ("net_return_ytd", [None, "0.1", "0.1", "0.21", "0.331"]),
            ("net_return_since_inception", [None, "0.1", "0.21", "0.331", "0.4641"]),
        ],
    )
    def test_returns_to_date_start_at_the_last_value_before_the_period(self, column, expected):
        assert figures(column, self.VALUES) == expected

    def test_returns_to_date_start_with_the_record_where_it_is_younger(self):
        values = [Value(day("2026-03-10"), "100"), Value(day("2026-03-11"), "105")]
        assert figures("net_return_ytd", values)[-1] == "0.05"

    @pytest.mark.parametrize("column", [n for n in RETURN_COLUMNS if "year" in n or "annual" in n])
    def test_nothing_is_annualised_before_a_year_is_over(self, column):
        values = [Value(day("2025-03-03"), "100", "0"), Value(day("2026-03-02"), "200", "0")]
        assert figures(column, values) == [None, None]

    @pytest.mark.parametrize(
        ("column", "years"), [("one_year", 1), ("three_years", 3), ("five_years", 5)]
    )
    def test_a_return_of_years_is_given_on_the_anniversary(self, column, years):
        growth = Decimal("1.1") ** years
        values = [
            Value(day("2020-03-03"), "10000"),
            Value(date(2020 + years, 3, 3), str(10000 * growth)),
        ]
        assert figures(f"net_return_{column}", values)[-1] == "0.1"

    @pytest.mark.parametrize(("age", "expected"), [(31, "0.1"), (32, None)])
    def test_an_anniversary_takes_the_last_index_of_31_days(self, age, expected):
        anniversary = day("2025-03-02")
        values = [
            Value(day("2024-01-01"), "100"),
            Value(anniversary - timedelta(days=age), "200"),
            Value(day("2026-03-02"), "220"),
        ]
        assert figures("net_return_one_year", values)[-1] == expected

    def test_an_anniversary_does_not_reach_into_an_earlier_record(self):
        values = [
            Value(day("2025-02-27"), "100"),
            Value(day("2025-02-28"), "0"),
            Value(day("2025-03-01"), "0"),
            Value(day("2025-03-03"), "100"),
            Value(day("2026-03-02"), "110"),
        ]
        assert figures("net_return_one_year", values)[-1] is None

    def test_since_inception_per_year_counts_calendar_years(self):
        values = [Value(day("2024-02-28"), "100"), Value(day("2026-02-28"), "144")]
        found = figures("net_return_since_inception_annualised", values)
        assert found[-1] == "0.2"

    def test_since_inception_per_year_counts_the_days_of_the_year_begun(self):
        """2024-01-01 to 2025-07-02: one year and 182 of 365 days (2024-07-02 lies 183 in 366)."""
        values = [Value(day("2024-01-01"), "100"), Value(day("2025-07-02"), "150")]
        found = float(figures("net_return_since_inception_annualised", values)[-1])
        assert found == pytest.approx(1.5 ** (1 / (1 + 183 / 366)) - 1, abs=1e-12)

    def test_since_inception_per_year_by_365_days(self):
        values = [Value(day("2024-02-28"), "100"), Value(day("2026-02-28"), "144")]
        found = figures("net_return_since_inception_annualised", values, (), DAYS_365)[-1]
        assert float(found) == pytest.approx(1.44 ** (365 / 731) - 1, abs=1e-12)

    def test_three_years_by_365_days(self):
        values = [Value(day("2023-02-28"), "100"), Value(day("2026-02-28"), "144")]
        found = figures("net_return_three_years", values, (), DAYS_365)[-1]
        assert float(found) == pytest.approx(1.44 ** (365 / 1096) - 1, abs=1e-12)

    def test_a_record_that_began_on_29_february_is_a_year_old_on_1_march(self):
        values = [
            Value(day("2024-02-29"), "100"),
            Value(day("2025-02-28"), "110"),
            Value(day("2025-03-01"), "110"),
        ]
        assert figures("net_return_one_year", values) == [None, None, "0.1"]

    def test_a_total_loss_is_minus_one_per_year_too(self):
        values = [Value(day("2020-03-03"), "100"), Value(day("2023-03-03"), "0")]
        assert figures("net_return_three_years", values)[-1] == "-1"

    def test_a_linked_return_that_does_not_fit_is_null(self):
        values = [
            Value(MONDAY, "0.01"),
            Value(TUESDAY, "9000"),
            Value(WEDNESDAY, "900000000"),
        ]
        row = rows_of(values)[-1]
        assert (row["return_status"], row["net_return_mtd"]) == ("measured", None)


STEPS = st.sampled_from([1, 1, 1, 1, 3, 2, 20, 34, 200, 366])
AMOUNTS = st.sampled_from(["100", "103.5", "99.1234", "250", "0", "0", "0.0001", "-7", "12000.01"])
FLOW_AMOUNTS = st.sampled_from(["10", "-10", "100", "-100", "55.5", "-103.5", "0"])
TIMINGS = st.sampled_from(
    [
        ("start_of_day", None),
        ("end_of_day", None),
        ("weighted", "0.25"),
        ("weighted", "0.7"),
        ("weighted", None),
    ]
)


@st.composite
def account_histories(draw) -> tuple[list[Value], list[Flow]]:
    values: list[Value] = []
    flows: list[Flow] = []
    for account in draw(st.sampled_from([["A"], ["A", "B"], ["B", "a", "Ä"]])):
        today = date(2019, 11, 20) + timedelta(days=draw(st.integers(0, 70)))
        has_fees = draw(st.booleans())
        currency = "USD"
        for number in range(draw(st.integers(1, 16))):
            step = draw(STEPS)
            today += timedelta(days=step)
            if draw(st.integers(0, 15)) == 0:
                currency = "EUR" if currency == "USD" else "USD"
            fees = draw(st.sampled_from(["0", "0.25", None] if number % 5 == 0 else ["0", "1"]))
            values.append(
                Value(today, draw(AMOUNTS), fees if has_fees else None, account, currency)
            )
            for sequence in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
                timing, weight = draw(TIMINGS)
                flows.append(
                    Flow(
                        today - timedelta(days=draw(st.integers(0, step - 1))),
                        draw(FLOW_AMOUNTS),
                        timing,
                        weight,
                        draw(st.sampled_from([None, None, "101", "98.5"])),
                        account,
                        1000 * number + sequence,
                        "GBP" if draw(st.integers(0, 25)) == 0 else currency,
                    )
                )
    return values, flows


def month_by_month(values: list[Value], flows: list[Flow]) -> Returns:
    """Compute each month on its own, from the states and rows of the months before."""
    tables: list[pa.Table] = []
    states: list[pa.Table] = []
    month = min(value.day for value in values).replace(day=1)
    last = max(value.day for value in values)
    while month <= last:
        following = (month + timedelta(days=31)).replace(day=1)
        part = compute_returns(
            valuations(each for each in values if month <= each.day < following),
            external_flows(each for each in flows if each.day < following),
            states=states[-1] if states else None,
            history=pa.concat_tables(tables) if tables else None,
            settings=CALENDAR,
            months=(month, month),
        )
        tables.append(part.table)
        states.append(part.states)
        month = following
    order = [("account_id", "ascending"), ("as_of_date", "ascending")]
    state_order = [("account_id", "ascending"), ("as_of_month", "ascending")]
    return Returns(
        pa.concat_tables(tables).sort_by(order), pa.concat_tables(states).sort_by(state_order)
    )


def as_text(returns: Returns) -> list[str]:
    """Rows as text, so that NaN equals NaN; repr tells every bit of a float."""
    return [repr(row) for row in [*returns.table.to_pylist(), *returns.states.to_pylist()]]


@examples(150)
@given(account_histories())
def test_every_figure_equals_the_definition_in_exact_fractions(history):
    values, flows = history
    expected = sorted(expected_returns(values, flows), key=lambda e: (e.account.encode(), e.day))
    differences = [
        (row["account_id"], row["as_of_date"], name, row[name], each.figures.get(name))
        for row, each in zip(rows_of(values, flows), expected, strict=True)
        for name in RETURN_COLUMNS
        if not _same(row[name], _held(each.figures.get(name)))
    ]
    assert not differences


@examples(150)
@given(account_histories())
def test_every_status_equals_the_definition(history):
    values, flows = history
    expected = sorted(expected_returns(values, flows), key=lambda e: (e.account.encode(), e.day))
    found = [
        (row["return_status"], row["record_start_date"], row["is_estimated"])
        for row in rows_of(values, flows)
    ]
    assert found == [(each.status, each.record_start, each.is_estimated) for each in expected]


@examples(20)
@given(account_histories())
def test_month_by_month_equals_all_at_once_bit_for_bit(history):
    values, flows = history
    assert as_text(month_by_month(values, flows)) == as_text(returns_of(values, flows))


@examples(20)
@given(account_histories(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(history, random):
    values, flows = history
    expected = as_text(returns_of(values, flows))
    random.shuffle(values)
    random.shuffle(flows)
    assert as_text(returns_of(values, flows)) == expected


@examples(20)
@given(account_histories())
def test_the_size_of_blocks_does_not_matter(history):
    values, flows = history
    parts = list(
        iterate_returns(
            valuations(values),
            external_flows(flows),
            states=None,
            history=None,
            settings=CALENDAR,
            rows_per_block=1,
        )
    )
    in_blocks = Returns(
        pa.concat_tables(part.table for part in parts),
        pa.concat_tables(part.states for part in parts),
    )
    assert as_text(in_blocks) == as_text(returns_of(values, flows))


@examples(20)
@given(account_histories(), st.data())
def test_flows_of_zero_change_nothing(history, data):
    values, flows = history
    some = data.draw(st.lists(st.sampled_from(flows), max_size=3)) if flows else []
    nothing = [
        replace(flow, amount="0", sequence=flow.sequence + 500, currency="JPY") for flow in some
    ]
    assert as_text(returns_of(values, [*flows, *nothing])) == as_text(returns_of(values, flows))


@examples(20)
@given(account_histories(), st.sampled_from(["2", "1000", "0.5"]))
def test_returns_do_not_depend_on_the_unit_of_money(history, factor):
    values, flows = history
    values = [replace(value, amount=_times(value.amount, "10")) for value in values]
    flows = [
        replace(flow, amount=_times(flow.amount, "10"), before=_times(flow.before, "10"))
        for flow in flows
    ]
    scaled = returns_of(
        [
            replace(each, amount=_times(each.amount, factor), fees=_times(each.fees, factor))
            for each in values
        ],
        [
            replace(each, amount=_times(each.amount, factor), before=_times(each.before, factor))
            for each in flows
        ],
    )
    found, expected = (
        [(row["return_status"], *(row[name] for name in RETURN_COLUMNS)) for row in rows]
        for rows in (scaled.table.to_pylist(), rows_of(values, flows))
    )
    assert all(
        left == right or _same(left, right)
        for one, other in zip(found, expected, strict=True)
        for left, right in zip(one, other, strict=True)
    )


def test_states_have_the_schema_of_their_table():
    assert returns_of([Value(MONDAY, "1")]).states.schema == COMPUTED_STATES


def test_decimals_are_rounded_half_to_even():
    [found] = fractions_to_decimals(np.array([[0.5e-12, 1.5e-12, 2.5e-12, -0.5e-12, -1.5e-12]]))
    assert [int(each * 10**12) for each in found.to_pylist()] == [0, 2, 2, 0, -2]


def _times(amount: str | None, factor: str) -> str | None:
    return None if amount is None else str(Decimal(amount) * Decimal(factor))


def _held(figure: float | None) -> float | None:
    return None if figure is None or abs(figure) >= 1e6 else figure


def _same(left: object, right: object) -> bool:
    if left is None or right is None or isinstance(left, str):
        return left == right
    return abs(float(left) - float(right)) <= 1e-12 * (1.5 + abs(float(right)))
