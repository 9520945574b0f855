"""From silver tables to account-days: order, flows between months, states, limits of numbers."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.account_days import AccountDays
from pipeline_platform.advisory_performance.calendar_days import (
    day_number,
    first_of_month,
    month_index,
)
from pipeline_platform.advisory_performance.decimals import (
    decimals_from_words,
    floats_of,
    words_of,
)
from pipeline_platform.advisory_performance.return_kernels import years_between
from pipeline_platform.advisory_performance.tables import COMPUTED_RETURNS, COMPUTED_STATES, MONEY
from pipeline_platform.advisory_performance.twrr import Returns, compute_returns
from pipeline_platform.failures import BadInputError
from tests.examples import examples
from tests.unit.advisory_performance.return_inputs import (
    CALENDAR,
    Flow,
    Value,
    day,
    external_flows,
    returns_of,
    rows_of,
    valuations,
)

JANUARY = (Value(day("2026-01-29"), "100", "0"), Value(day("2026-01-30"), "110", "0"))
MONDAY = day("2026-02-02")


def february(
    values: list[Value],
    flows: tuple[Flow, ...] = (),
    states: pa.Table | None = None,
    months: tuple[date, date] | None = None,
) -> Returns:
    return compute_returns(
        valuations(values),
        external_flows(flows),
        states=returns_of(JANUARY).states if states is None else states,
        history=None,
        settings=CALENDAR,
        months=months,
    )


class TestFlowsBetweenMonths:
    def test_a_flow_on_a_weekend_at_the_months_end_counts_with_the_next_month(self):
        """In on Saturday 31 January, Friday to Monday: (225 - 110 - 100) / (110 + 100 * 2/3)."""
        part = february([Value(MONDAY, "225")], (Flow(day("2026-01-31"), "100"),))
        assert part.table["net_return_daily"].to_pylist() == [Decimal("0.084905660377")]

    def test_a_flow_that_was_counted_before_is_left_out(self):
        part = february([Value(MONDAY, "121")], (Flow(day("2026-01-30"), "7"),))
        assert part.table["net_external_flow"].to_pylist() == [Decimal(0)]

    def test_a_flow_after_the_last_valuation_waits(self):
        part = february([Value(MONDAY, "121")], (Flow(MONDAY + timedelta(days=1), "7"),))
        assert part.table["net_external_flow"].to_pylist() == [Decimal(0)]

    def test_a_flow_of_an_account_without_valuations_is_left_out(self):
        part = february([Value(MONDAY, "121")], (Flow(MONDAY, "7", account="0"),))
        assert part.table["net_external_flow"].to_pylist() == [Decimal(0)]


class TestStates:
    def test_a_month_links_from_the_state_before(self):
        row = february([Value(MONDAY, "121", "0")]).table.to_pylist()[0]
        assert [row[f"net_return_{period}"] for period in ("daily", "mtd", "qtd", "ytd")] == [
            Decimal("0.1"),
            Decimal("0.1"),
            Decimal("0.21"),
            Decimal("0.21"),
        ]

    def test_the_value_of_the_state_opens_the_month(self):
        opening = february([Value(MONDAY, "121")]).table["opening_value"].to_pylist()
        assert opening == [Decimal(110)]

    def test_an_account_without_valuations_keeps_its_state(self):
        other = [Value(MONDAY, "5", account="B")]
        kept = february(other).states.to_pylist()[0]
        assert (kept["account_id"], kept["as_of_date"], kept["as_of_month"]) == (
            "A",
            day("2026-01-30"),
            day("2026-02-01"),
        )

    def test_months_without_any_valuation_keep_all_states(self):
        months = (day("2026-02-01"), day("2026-03-01"))
        states = february([], months=months).states
        assert states["as_of_month"].to_pylist() == list(months)

    def test_nothing_in_gives_nothing_out(self):
        part = returns_of([])
        assert (part.table.schema, part.table.num_rows, part.states.num_rows) == (
            COMPUTED_RETURNS,
            0,
            0,
        )

    def test_every_month_of_a_batch_has_its_states(self):
        values = [Value(day("2026-01-30"), "100"), Value(day("2026-03-02"), "110")]
        states = returns_of(values).states
        assert states["as_of_month"].to_pylist() == [date(2026, month, 1) for month in (1, 2, 3)]

    def test_a_closed_record_is_not_open(self):
        values = [Value(day("2026-01-29"), "100"), Value(day("2026-01-30"), "0")]
        assert returns_of(values).states["is_record_open"].to_pylist() == [False]

    def test_gross_without_fees_is_not_a_number(self):
        values = [Value(day("2026-01-29"), "100"), Value(day("2026-01-30"), "110")]
        assert np.isnan(returns_of(values).states["gross_growth_index"].to_pylist()[0])

    def test_two_states_of_an_account_are_refused(self):
        states = returns_of(JANUARY).states
        with pytest.raises(BadInputError, match="Account A has more than one state"):
            february([Value(MONDAY, "1")], states=pa.concat_tables([states, states]))

    def test_a_state_that_is_not_older_is_refused(self):
        with pytest.raises(BadInputError, match="state of account A is not older"):
            february([Value(day("2026-01-30"), "1")])


class TestHistory:
    VALUES = (Value(day("2025-02-28"), "100", "0"), Value(day("2025-03-31"), "150", "0"))

    def history(self) -> pa.Table:
        return returns_of(self.VALUES).table

    def test_an_anniversary_is_found_in_history(self):
        part = compute_returns(
            valuations([Value(day("2026-03-31"), "180", "0")]),
            external_flows([]),
            states=returns_of(self.VALUES).states.slice(1),
            history=self.history(),
            settings=CALENDAR,
        )
        assert part.table["gross_return_one_year"].to_pylist() == [Decimal("0.2")]

    def test_history_of_days_that_are_computed_anew_is_left_out(self):
        withdrawn = [self.VALUES[0], Value(day("2025-03-15"), "700", "0")]
        part = compute_returns(
            valuations([*self.VALUES, Value(day("2026-03-20"), "120", "0")]),
            external_flows([]),
            states=None,
            history=returns_of(withdrawn).table,
            settings=CALENDAR,
        )
        assert part.table["net_return_one_year"].to_pylist()[-1] == Decimal("0.2")


class TestInput:
    def test_two_valuations_of_a_day_are_refused(self):
        with pytest.raises(BadInputError, match="Account A has two valuations on 2026-02-02"):
            returns_of([Value(MONDAY, "1"), Value(MONDAY, "2")])

    def test_rows_come_out_in_order_of_account_and_day(self):
        values = [
            Value(day("2026-01-30"), "1", account="b"),
            Value(day("2026-01-30"), "1", account="B"),
            Value(day("2026-01-29"), "1", account="b"),
        ]
        rows = rows_of(values)
        assert [(row["account_id"], row["as_of_date"].day) for row in rows] == [
            ("B", 30),
            ("b", 29),
            ("b", 30),
        ]

    def test_other_arrow_types_of_the_same_content_are_read(self):
        table = valuations(JANUARY)
        encoded = table.set_column(0, "account_id", table["account_id"].cast(pa.large_string()))
        found = compute_returns(
            encoded, external_flows([]), states=None, history=None, settings=CALENDAR
        )
        assert found.table.to_pylist() == rows_of(JANUARY)

    def test_tables_that_duckdb_read_are_the_same(self):
        values = [*JANUARY, Value(MONDAY, "231", "0.5", "Ä")]
        flows = [Flow(day("2026-01-30"), "5", "weighted", "0.25", "104")]
        with duckdb.connect() as connection:
            through_duckdb = compute_returns(
                connection.from_arrow(valuations(values)).to_arrow_table(),
                connection.from_arrow(external_flows(flows)).to_arrow_table(),
                states=None,
                history=None,
                settings=CALENDAR,
            )
        assert through_duckdb.table.equals(returns_of(values, flows).table)

    def test_chunks_and_slices_are_read(self):
        table = valuations([Value(day("2020-01-01"), "7"), *JANUARY])
        cut = pa.concat_tables([table.slice(1, 1), table.slice(2, 1)])
        found = compute_returns(
            cut, external_flows([]), states=None, history=None, settings=CALENDAR
        )
        assert found.table.to_pylist() == rows_of(JANUARY)

    def test_the_largest_money_is_read(self):
        values = [
            Value(day("2026-01-29"), "8000000000000000.0000"),
            Value(day("2026-01-30"), "9999999999999999.9999"),
        ]
        row = rows_of(values)[-1]
        assert (row["opening_value"], row["net_return_daily"]) == (
            Decimal("8000000000000000.0000"),
            Decimal("0.25"),
        )

    def test_flows_that_add_up_to_too_much_are_refused(self):
        most = "9999999999999999.9999"
        flows = [Flow(day("2026-01-30"), most, sequence=number) for number in (1, 2)]
        with pytest.raises(BadInputError, match="add up to more than 20 digits"):
            returns_of(JANUARY, flows)

    def test_an_account_is_never_cut(self):
        values = [
            replace(Value(day("2026-01-01") + timedelta(days=number), "1"), account=account)
            for account in "ABC"
            for number in range(4)
        ]
        batch = AccountDays(valuations(values), external_flows([]), None, None)
        assert list(batch.blocks(9, 1)) == [(0, 2), (2, 3)]

    def test_states_have_no_null(self):
        states = returns_of(JANUARY).states
        assert {states[name].null_count for name in COMPUTED_STATES.names} == {0}


@examples(100)
@given(
    st.lists(
        st.none() | st.decimals(-(10**16) + 1, 10**16 - 1, places=4, allow_nan=False), max_size=20
    ),
    st.integers(0, 3),
)
def test_money_goes_to_words_and_back_unchanged(amounts, start):
    column = pa.array(amounts, MONEY).slice(start)
    valid = None if not column.null_count else column.is_valid().to_numpy(zero_copy_only=False)
    assert decimals_from_words(words_of(column), MONEY, valid).equals(column)


@examples(100)
@given(st.lists(st.decimals(-(10**16) + 1, 10**16 - 1, places=4), max_size=20))
def test_money_as_floats_counts_ten_thousandths(amounts):
    found = floats_of(pa.array(amounts, MONEY)).tolist()
    assert found == pytest.approx([float(amount * 10_000) for amount in amounts], rel=5e-16)


@examples(100)
@given(st.dates(date(1990, 1, 1), date(2099, 12, 31)), st.integers(1, 60))
def test_an_anniversary_is_a_whole_number_of_years(start, years):
    if (start.month, start.day) == (2, 29):
        start -= timedelta(days=1)
    end = start.replace(year=start.year + years)
    days = np.array([day_number(start), day_number(end)], np.int32)
    months = month_index(days)
    first = int(months[0]) - 12
    month_starts = first_of_month(np.arange(first, months[1] + 2))
    (from_month, to_month) = months - first
    assert years_between(days[0], from_month, days[1], to_month, month_starts) == years
