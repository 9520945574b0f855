"""Several records about one account and day: ownership, conflicts, repetitions and versions."""

import random
from collections import Counter
from datetime import UTC, date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples

from .bronze_records import (
    Outcome,
    arrival_of,
    connect,
    flow,
    record,
    reported,
    sha_of,
    valuation,
)
from .delivery_judge import Delivered, Version, judge

VERSIONS = "market_value::INT, known_from, known_to, is_current"
FLOW_VERSIONS = "known_from, known_to, amount::INT, flow_sequence, line_number"


def test_a_later_file_with_another_value_is_a_correction():
    outcome = Outcome([valuation("100", file=1), valuation("101", file=2)])
    assert outcome.values("valuations", VERSIONS) == [
        (100, arrival_of(1), arrival_of(2), False),
        (101, arrival_of(2), None, True),
    ]


def test_a_value_that_comes_back_is_a_third_version():
    rows = [valuation("100", file=1), valuation("101", file=2), valuation("100", file=3)]
    assert Outcome(rows).values("valuations", VERSIONS) == [
        (100, arrival_of(1), arrival_of(2), False),
        (100, arrival_of(3), None, True),
        (101, arrival_of(2), arrival_of(3), False),
    ]


def test_an_identical_delivery_is_deduplicated():
    outcome = Outcome([valuation("100", file=1), valuation("100.00", file=2)])
    assert outcome.totals == (2, 1, 0, 1)


def test_an_identical_line_of_the_same_file_is_deduplicated():
    outcome = Outcome([valuation("100", line=2), valuation("100", line=3)])
    assert outcome.totals == (2, 1, 0, 1)


def test_the_first_delivery_of_a_content_is_the_one_that_is_kept():
    rows = [valuation("100", file=2, line=9), valuation("100", file=1, line=4)]
    assert Outcome(rows).values("valuations", "file_sha256, line_number") == [(sha_of(1), 4)]


def test_another_fee_or_currency_is_another_version():
    rows = [valuation(file=1), valuation(file=2, fees="1"), valuation(file=3, currency="EUR")]
    assert len(Outcome(rows).values("valuations", "*")) == 3


def test_files_that_arrive_at_one_instant_are_ordered_by_their_hash():
    rows = [
        {**valuation("1", file=1), "file_sha256": "b" * 64},
        {**valuation("2", file=1), "file_sha256": "a" * 64},
    ]
    assert Outcome(rows).values("valuations", "market_value::INT, is_current") == [
        (1, True),
        (2, False),
    ]


def test_two_values_for_one_account_and_day_in_one_file_are_both_rejected():
    outcome = Outcome([valuation("100", line=2), valuation("101", line=3)])
    assert outcome.rules == ["conflicting_duplicate"] * 2


def test_a_conflict_names_the_lines_and_the_column():
    outcome = Outcome([valuation("100", line=2), valuation("101", line=3)])
    assert outcome.reasons[0] == (
        "market_value: 2 records of this file (lines 2 to 3) state different values for account "
        "A-1 on 2026-10-01. (delivery_1, line 2)"
    )


def test_a_conflict_rejects_all_parts_of_its_records():
    rows = [
        record(line=2, market_value="100", external_flow="5", reported_return="0.1"),
        record(line=3, market_value="101"),
    ]
    outcome = Outcome(rows)
    assert outcome.values("external_flows", "*") + outcome.values("reported_returns", "*") == []


def test_a_value_given_and_missing_fees_beside_given_ones_are_a_conflict():
    outcome = Outcome([valuation(line=2, fees="1"), valuation(line=3)])
    assert outcome.rules == ["conflicting_duplicate"] * 2


def test_a_conflict_in_one_file_leaves_the_version_of_another_file():
    rows = [valuation("1", file=1), valuation("2", file=2), valuation("3", file=2, line=3)]
    assert Outcome(rows).values("valuations", VERSIONS) == [(1, arrival_of(1), None, True)]


def test_returns_of_several_periods_and_bases_are_no_conflict():
    rows = [
        reported("0.1", line=2),
        reported("0.2", line=3, reported_period="mtd"),
        reported("0.3", line=4, reported_basis="gross"),
    ]
    assert Outcome(rows).values("reported_returns", "period, basis") == [
        ("daily", "gross"),
        ("daily", "net"),
        ("mtd", "net"),
    ]


def test_a_return_reported_with_other_decimals_is_another_version():
    rows = [reported("0.10", file=1), reported("0.1", file=2)]
    assert Outcome(rows).values("reported_returns", "decimals, is_current") == [
        (1, True),
        (2, False),
    ]


def test_further_periods_of_a_day_may_repeat_its_value():
    rows = [
        record(line=2, market_value="100", reported_return="0.1"),
        record(line=3, market_value="100", reported_return="0.2", reported_period="mtd"),
    ]
    outcome = Outcome(rows)
    assert (outcome.totals, len(outcome.values("valuations", "*"))) == ((2, 2, 0, 0), 1)


def test_several_flows_of_a_day_are_numbered_by_line():
    rows = [flow("5", line=9), flow("7", line=4)]
    assert Outcome(rows).values("external_flows", "amount::INT, flow_sequence") == [(5, 2), (7, 1)]


def test_two_flows_with_one_identity_in_one_file_are_a_conflict():
    rows = [flow("5", line=2, flow_id="F1"), flow("7", line=3, flow_id="F1")]
    assert Outcome(rows).rules == ["conflicting_duplicate"] * 2


def test_equal_flows_with_different_identities_are_two_flows():
    rows = [flow("5", line=2, flow_id="F1"), flow("5", line=3, flow_id="F2")]
    assert len(Outcome(rows).values("external_flows", "*")) == 2


def test_flows_of_a_day_are_corrected_as_a_set():
    rows = [
        flow("5", file=1, line=2),
        flow("7", file=1, line=3),
        flow("7", file=2, line=2),
        flow("9", file=2, line=3),
    ]
    assert Outcome(rows).values("external_flows", FLOW_VERSIONS) == [
        (arrival_of(1), arrival_of(2), 5, 1, 2),
        (arrival_of(1), arrival_of(2), 7, 2, 3),
        (arrival_of(2), None, 7, 1, 2),
        (arrival_of(2), None, 9, 2, 3),
    ]


def test_the_same_set_of_flows_in_another_order_is_deduplicated():
    rows = [
        flow("5", file=1, line=2),
        flow("7", file=1, line=3),
        flow("7", file=2, line=2),
        flow("5", file=2, line=3),
    ]
    assert Outcome(rows).totals == (4, 2, 0, 2)


def test_a_flow_that_a_later_set_leaves_out_is_taken_back():
    rows = [flow("5", file=1, line=2), flow("7", file=1, line=3), flow("5", file=2)]
    assert Outcome(rows).values("external_flows", "amount::INT, is_current") == [
        (5, False),
        (5, True),
        (7, False),
    ]


def test_a_record_without_a_flow_does_not_empty_the_flows_of_its_own_file():
    rows = [
        record(file=1, market_value="1"),
        record(file=2, line=2, market_value="1"),
        record(file=2, line=3, external_flow="5"),
    ]
    assert Outcome(rows).totals == (3, 2, 0, 1)


def test_a_combined_record_without_the_flow_takes_it_back():
    rows = [
        record(file=1, market_value="1", external_flow="5"),
        record(file=2, market_value="1"),
    ]
    outcome = Outcome(rows)
    found = outcome.values("external_flows", "known_to, is_current")
    assert (found, outcome.totals) == ([(arrival_of(2), False)], (2, 2, 0, 0))


def test_a_record_that_states_no_value_says_nothing_about_flows():
    rows = [
        record(file=1, market_value="1", external_flow="5"),
        record(file=2, reported_return="0.1"),
    ]
    assert Outcome(rows).values("external_flows", "is_current") == [True]


def test_a_valuation_record_says_nothing_about_flows():
    rows = [flow("5", file=1), valuation("1", file=2)]
    assert Outcome(rows).values("external_flows", "is_current") == [True]


def test_an_account_belongs_to_the_vendor_that_delivered_it_first():
    rows = [valuation(file=1), valuation(file=2, vendor="harbor")]
    assert Outcome(rows).values("rejected", "vendor, rule, column_name, reason") == [
        (
            "harbor",
            "account_of_other_vendor",
            "account_id",
            "account_id: account A-1 was first delivered by standard, not by harbor. "
            "(delivery_2, line 2)",
        )
    ]


def test_a_record_that_is_rejected_claims_no_account():
    rows = [valuation("x", file=1), valuation(file=2, vendor="harbor")]
    assert Outcome(rows).values("valuations", "vendor") == ["harbor"]


def test_an_owner_known_before_keeps_the_account():
    rows = [valuation(file=1), valuation(file=2, vendor="harbor")]
    assert Outcome(rows, owners={"A-1": "harbor"}).values("valuations", "vendor") == ["harbor"]


def test_a_single_vendor_can_be_refused_by_an_owner_known_before():
    rules = Outcome([valuation()], owners={"A-1": "harbor", "A-2": "standard"}).rules
    assert rules == ["account_of_other_vendor"]


def test_counts_are_kept_per_file_and_month():
    rows = [
        valuation("1", file=1, line=2),
        valuation("1", file=1, line=3),
        valuation("x", file=1, line=4, as_of_date="2026-09-30"),
        valuation("1", file=2),
    ]
    columns = "file_sha256, partition_key, arrived, published, quarantined, deduplicated"
    assert Outcome(rows).values("counts", columns) == sorted(
        [
            (sha_of(1), "2026-10-01", 2, 1, 0, 1),
            (sha_of(1), "2026-09-01", 1, 0, 1, 0),
            (sha_of(2), "2026-10-01", 1, 0, 0, 1),
        ]
    )


CLIENTS = 4
AMOUNTS = st.none() | st.sampled_from([Decimal(0), Decimal(5), Decimal(7)])


@st.composite
def deliveries(draw):
    """Up to four files of records about few accounts and days, so that most of them meet.

    Several clients' at once, whose records never meet: one pass of the engine settles them all.
    """
    return [one for number in range(CLIENTS) for one in draw(_deliveries_of(number))]


@st.composite
def _deliveries_of(draw, number):
    some = f"{'ABCD'[number]}-1"
    return [
        Delivered(
            file=file,
            line=10 * number + line,
            account=draw(st.sampled_from([some, some, some, f"{'ABCD'[number]}-2"])),
            day=draw(st.sampled_from(["2026-10-01", "2026-10-01", "2026-11-02"])),
            value=draw(st.none() | st.sampled_from([Decimal(100), Decimal(101)])),
            flow=draw(AMOUNTS),
            flow_id=draw(st.sampled_from([None, None, None, "F1"])),
            reported=draw(st.sampled_from([None, Decimal("0.1"), Decimal("0.2")])),
            period=draw(st.sampled_from(["daily", "mtd"])),
        )
        for file in range(1, draw(st.integers(1, 4)) + 1)
        for line in range(2, draw(st.integers(2, 6)))
    ]


def as_rows(records):
    def text(value):
        return None if value is None else str(value)

    return [
        record(
            one.file,
            one.line,
            account_id=one.account,
            as_of_date=one.day,
            market_value=text(one.value),
            external_flow=text(one.flow),
            flow_id=one.flow_id,
            reported_return=text(one.reported),
            reported_period=one.period,
        )
        for one in records
    ]


FILES = {sha_of(file): file for file in range(1, 5)}
FILE_AT = {arrival_of(file): file for file in range(1, 5)}


def published(outcome):
    """Versions in the result, in the yardstick's words."""
    place = "file_sha256, line_number, known_to, account_id, as_of_date::VARCHAR"
    found = set()
    for sha, line, until, *key, content in outcome.values("valuations", f"{place}, market_value"):
        found.add(version(("value", *key), content, sha, line, until))
    columns = f"{place}, period, reported_return"
    for sha, line, until, *key, content in outcome.values("reported_returns", columns):
        found.add(version(("return", *key), content, sha, line, until))
    columns = f"{place}, amount, flow_id"
    for sha, line, until, account, day, *content in outcome.values("external_flows", columns):
        found.add(version(("flow", account, day), tuple(content), sha, line, until))
    return found


def version(key, content, sha, line, until):
    until_file = None if until is None else FILE_AT[until.astimezone(UTC)]
    return Version(key, content, FILES[sha], line, until_file)


def places(records):
    return sorted((sha_of(one.file), one.line) for one in records)


@examples(6)
@given(deliveries())
def test_versions_are_those_of_the_yardstick(records):
    assert published(Outcome(as_rows(records))) == judge(records)[0]


@examples(6)
@given(deliveries())
def test_rejected_records_are_those_of_the_yardstick(records):
    found = Outcome(as_rows(records)).values("rejected", "file_sha256, line_number")
    assert found == places(judge(records)[1])


@examples(6)
@given(deliveries())
def test_per_file_and_month_every_arrived_record_has_one_fate(records):
    columns = "file_sha256, partition_key, arrived, published, quarantined, deduplicated"
    _, quarantined, repeated = judge(records)
    expected = Counter()
    for one in records:
        fate = 2 if one in quarantined else 3 if one in repeated else 1
        key = (sha_of(one.file), f"{one.day[:7]}-01")
        expected.update({(*key, 0): 1, (*key, fate): 1})
    keys = sorted({(sha, month) for sha, month, _ in expected})
    assert Outcome(as_rows(records)).values("counts", columns) == [
        (*key, *(expected[*key, fate] for fate in range(4))) for key in keys
    ]


@examples(4)
@given(deliveries(), st.randoms(use_true_random=False))
def test_the_order_of_bronze_rows_changes_nothing(records, chance: random.Random):
    rows = as_rows(records)
    shuffled = Outcome(chance.sample(rows, len(rows)), con=connect(threads=2))
    assert shuffled.everything() == Outcome(rows).everything()


@examples(4)
@given(deliveries())
def test_months_one_by_one_give_the_same_as_all_in_one_pass(records):
    rows = as_rows(records)
    together = Outcome(rows).everything()
    parts = [
        Outcome([row for row in rows if row["as_of_month"] == month]).everything()
        for month in (date(2026, 10, 1), date(2026, 11, 1))
    ]
    merged = {name: sorted([*parts[0][name], *parts[1][name]], key=repr) for name in together}
    assert merged == {name: sorted(found, key=repr) for name, found in together.items()}


@examples(4)
@given(deliveries())
def test_a_file_that_arrives_once_more_changes_no_version_that_was_known(records):
    """Growing bronze file by file only appends versions and closes open ones."""
    last = max((one.file for one in records), default=0)
    before = {
        (one.key, one.content, one.file, one.line)
        for one in published(Outcome(as_rows([one for one in records if one.file < last])))
    }
    after = {
        (one.key, one.content, one.file, one.line) for one in published(Outcome(as_rows(records)))
    }
    assert before <= after


@examples(4)
@given(deliveries())
def test_each_key_has_at_most_one_current_version(records):
    outcome = Outcome(as_rows(records))
    current = [
        row
        for table, key in (
            ("valuations", "'value', account_id, as_of_date"),
            ("reported_returns", "period, account_id, as_of_date"),
            ("external_flows", "flow_sequence, account_id, as_of_date"),
        )
        for row in outcome.values(table, f"CASE WHEN is_current THEN '{table}' END, {key}")
        if row[0]
    ]
    assert len(current) == len(set(current))
