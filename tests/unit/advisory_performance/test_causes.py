"""The cause solver names every fault that is put into clean accounts, and nothing else (B-3).

Each fault below spoils one clean random account: either what the vendor reports, or what it
delivered. The account's own returns are right, so the only break is the fault.
"""

import random
from datetime import date
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.advisory_performance.causes import cluster, explain_breaches
from pipeline_platform.advisory_performance.hypotheses import HYPOTHESES
from pipeline_platform.advisory_performance.hypothesis import CAUSES
from pipeline_platform.advisory_performance.reconciliation import Tolerances, reconcile
from pipeline_platform.advisory_performance.tables import RECONCILIATION
from tests.examples import examples
from tests.unit.advisory_performance.sample_accounts import (
    WEIGHTS,
    Flow,
    Sample,
    clean_account,
    table,
)


def a_day(account, chance):
    return chance.choice(account.dates[3:-4])


def a_quiet_day(account, chance):
    """A day without flows, on it or on its neighbours."""
    quiet = [
        day
        for day in account.dates[3:-4]
        if not any(account.days[account.after(day, step)].flows for step in (-1, 0, 1))
    ]
    return chance.choice(quiet)


def a_flow_day(account, chance):
    days = [day for day in account.dates[3:-4] if account.days[day].flows]
    return chance.choice(days) if days else None


def flows_at_another_time(sample, account, chance):
    day = a_flow_day(account, chance)
    if day:
        flow = account.days[day].flows[0]
        other = chance.choice([w for w in WEIGHTS.values() if w != WEIGHTS[flow.timing]])
        sample.set(account, day, account.daily(day, weighted=flow.amount * other))


def flow_on_its_settlement_date(sample, account, chance):
    day = a_flow_day(account, chance)
    if day:
        flow = account.days[day].flows[0]
        settled = account.days[flow.settlement_date]
        sample.set(account, day, account.daily(day, flow=0.0, weighted=0.0))
        sample.set(
            account,
            flow.settlement_date,
            account.daily(
                flow.settlement_date,
                flow=settled.flow + flow.amount,
                weighted=settled.weighted + flow.amount * WEIGHTS[flow.timing],
            ),
        )


def flows_times(factor):
    def fault(sample, account, chance):
        day = a_flow_day(account, chance)
        if day:
            today = account.days[day]
            spoilt = account.daily(day, flow=today.flow * factor, weighted=today.weighted * factor)
            sample.set(account, day, spoilt)

    return fault


def reversed_sign(sample, account, chance):
    day = a_day(account, chance)
    sample.set(account, day, -account.daily(day))


def another_unit(sample, account, chance):
    day = a_day(account, chance)
    factor = chance.choice([100, 0.01] if abs(account.daily(day)) < 0.05 else [0.01])
    sample.set(account, day, account.daily(day) * factor)


def gross_for_net(sample, account, chance):
    day = a_day(account, chance)
    sample.set(account, day, account.daily(day, "gross"))


def few_decimals(sample, account, chance):
    day = a_quiet_day(account, chance)
    rounded = round(account.daily(day), 2)
    if rounded:
        sample.set(account, day, rounded)
        sample.decimals[account.account_id, day, "daily", "net"] = 2


def few_decimals_padded_with_noughts(sample, account, chance):
    day = a_quiet_day(account, chance)
    if round(account.daily(day), 2):
        sample.set(account, day, round(account.daily(day), 2))


def stale_value(sample, account, chance):
    day = a_day(account, chance)
    before = account.days[account.before(day)].value
    sample.set(account, day, account.daily(day, closing=before))
    sample.set(account, account.after(day), account.daily(account.after(day), opening=before))


def no_value(sample, account, chance):
    day = a_quiet_day(account, chance)
    after = account.after(day)
    sample.set(account, day, None)
    sample.set(account, after, (1 + account.daily(day)) * (1 + account.daily(after)) - 1)


def rate_of_the_day_before(sample, account, chance):
    day = a_day(account, chance)
    today, before = account.days[day], account.days[account.before(day)]
    lagged = today.value * before.fx_rate / today.fx_rate
    sample.set(account, day, account.daily(day, closing=lagged))
    sample.set(account, account.after(day), account.daily(account.after(day), opening=lagged))


def rate_quoted_the_other_way(sample, account, chance):
    day = a_day(account, chance)
    today, before = account.days[day], account.days[account.before(day)]
    lagged = today.value * today.fx_rate / before.fx_rate
    sample.set(account, day, account.daily(day, closing=lagged))


def delivered_stale_value(sample, account, chance):
    day = a_quiet_day(account, chance)
    account.days[day].value = account.days[account.before(day)].value


def delivered_no_value(sample, account, chance):
    sample.undelivered.add((account.account_id, a_day(account, chance)))


def delivered_flow_with_wrong_sign(sample, account, chance):
    day = a_flow_day(account, chance)
    if day:
        account.days[day].flows[0].amount *= -1


def delivered_flow_twice(sample, account, chance):
    day = a_flow_day(account, chance)
    if day:
        account.days[day].flows *= 2


def delivered_no_flow(sample, account, chance):
    day = a_quiet_day(account, chance)
    flow = Flow(chance.choice([-5000.0, 25000.0, 1000.0]), chance.choice(list(WEIGHTS)[:2]))
    before = account.days[account.before(day)].value
    grown = account.daily(day)
    start = flow.amount if flow.timing == "start_of_day" else 0.0
    moved = (before + start) * (1 + grown) + flow.amount - start - account.days[day].value
    for each in account.dates[account.dates.index(day) :]:
        account.days[each].value += moved
    account.days[day].flows.append(flow)
    sample.report(account)
    flow.is_delivered = False


FAULTS = {
    "flow_timing": [flows_at_another_time],
    "settlement_date": [flow_on_its_settlement_date],
    "flow_sign": [flows_times(-1), delivered_flow_with_wrong_sign],
    "omitted_flow": [flows_times(0), delivered_no_flow],
    "doubled_flow": [flows_times(2), delivered_flow_twice],
    "return_sign": [reversed_sign],
    "return_unit": [another_unit],
    "gross_net": [gross_for_net],
    "rounding": [few_decimals, few_decimals_padded_with_noughts],
    "stale_valuation": [stale_value, delivered_stale_value],
    "missing_valuation": [no_value, delivered_no_value],
    "currency_date": [rate_of_the_day_before, rate_quoted_the_other_way],
}
CASES = [(cause, fault) for cause, faults in FAULTS.items() for fault in faults]


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def sample_of(count, seed, periods=("daily",)):
    chance = random.Random(seed)
    sample = Sample([clean_account(number, chance) for number in range(count)])
    for account in sample.accounts:
        sample.report(account, periods)
    return sample, chance


def explained(con, sample, tolerances=None):
    returns, reported = sample.returns(con), sample.reported(con)
    return explain_breaches(
        con,
        reconcile(con, returns, reported, tolerances or Tolerances()),
        valuations=sample.valuations(con),
        flows=sample.flows(con),
        returns=returns,
        reported=reported,
    )


def causes_of(relation):
    rows = relation.filter("reconciliation_status = 'BREACH'").aggregate(
        "probable_cause, count(*) AS size", "probable_cause"
    )
    return dict(rows.fetchall())


def test_there_is_a_fault_for_every_cause():
    assert set(FAULTS) == set(CAUSES)


def test_there_is_a_hypothesis_for_every_cause():
    assert {one.cause for one in HYPOTHESES} == set(CAUSES)


def test_clean_accounts_have_no_breach(con):
    sample, _ = sample_of(20, 1, ("daily", "mtd"))

    assert causes_of(explained(con, sample)) == {}


@pytest.mark.parametrize(
    ("cause", "fault"), CASES, ids=lambda part: getattr(part, "__name__", str(part))
)
def test_an_injected_fault_is_named(con, cause, fault):
    sample, chance = sample_of(25, 2)
    for account in sample.accounts:
        fault(sample, account, chance)

    found = causes_of(explained(con, sample))

    assert (set(found), found.get(cause, 0) >= 12) == ({cause}, True)


@examples(2)
@given(st.integers(0, 2**16))
def test_faults_of_all_kinds_at_once_are_all_named(seed):
    sample, chance = sample_of(2 * len(CASES), seed)
    injected = {}
    for account, (cause, fault) in zip(sample.accounts, CASES * 2, strict=True):
        fault(sample, account, chance)
        injected[account.account_id] = cause

    with duckdb.connect() as con:
        rows = explained(con, sample).filter("reconciliation_status = 'BREACH'").to_arrow_table()

    assert {
        (row["account_id"], row["probable_cause"])
        for row in rows.to_pylist()
        if row["probable_cause"] != injected[row["account_id"]]
    } == set()


@pytest.mark.parametrize("factor", [0, -1, 2], ids=["omitted", "sign", "doubled"])
def test_a_fault_of_one_day_is_named_in_the_month_to_date(con, factor):
    cause = {0: "omitted_flow", -1: "flow_sign", 2: "doubled_flow"}[factor]
    sample, chance = sample_of(15, 4, ("mtd",))
    for account in sample.accounts:
        for each in account.days.values():
            for flow in each.flows:
                flow.settlement_date = None
        day = a_flow_day(account, chance)
        if day:
            today = account.days[day]
            spoilt = account.daily(day, flow=today.flow * factor, weighted=today.weighted * factor)
            for each in account.dates[1:]:
                value = account.month_to_date(each, **{day.isoformat(): spoilt})
                sample.set(account, each, value, "mtd")

    assert set(causes_of(explained(con, sample))) == {cause}


def test_a_month_with_all_flows_at_another_time_is_named(con):
    sample, _ = sample_of(15, 5, ("mtd",))
    for account in sample.accounts:
        late = {
            day.isoformat(): account.daily(day, weighted=0.0)
            for day in account.dates[1:]
            if account.days[day].flows
        }
        for day in account.dates[1:]:
            sample.set(account, day, account.month_to_date(day, **late), "mtd")

    assert set(causes_of(explained(con, sample))) == {"flow_timing"}


def test_a_month_that_carries_breaks_of_its_days_has_their_cause(con):
    sample, chance = sample_of(15, 6, ("daily", "mtd"))
    for account in sample.accounts:
        flow_on_its_settlement_date(sample, account, chance)
        daily = {
            key[1].isoformat(): value
            for key, value in sample.figures.items()
            if key[0] == account.account_id and key[2] == "daily"
        }
        for day in account.dates[1:]:
            sample.set(account, day, account.month_to_date(day, **daily), "mtd")

    assert set(causes_of(explained(con, sample))) == {"settlement_date"}


def test_an_omitted_flow_is_not_blamed_on_its_settlement_if_that_day_agrees(con):
    sample, chance = sample_of(25, 7)
    for account in sample.accounts:
        flows_times(0)(sample, account, chance)

    assert set(causes_of(explained(con, sample))) == {"omitted_flow"}


def test_a_gap_that_nothing_explains_is_unexplained(con):
    sample, _ = sample_of(1, 8)
    account = sample.accounts[0]
    day = next(day for day in account.dates[5:] if not account.days[day].flows)
    sample.set(account, day, account.daily(day) + 0.012345)

    assert causes_of(explained(con, sample)) == {"unexplained": 1}


def test_a_break_that_is_unexplained_has_no_residual(con):
    sample, _ = sample_of(1, 8)
    account = sample.accounts[0]
    day = next(day for day in account.dates[5:] if not account.days[day].flows)
    sample.set(account, day, account.daily(day) + 0.012345)
    breach = explained(con, sample).filter("reconciliation_status = 'BREACH'")

    assert breach.project("cause_residual_bps").fetchall() == [(None,)]


def test_only_breaches_have_a_cause(con):
    sample, chance = sample_of(5, 9)
    for account in sample.accounts:
        reversed_sign(sample, account, chance)
    relation = explained(con, sample)

    others = relation.filter("(reconciliation_status = 'BREACH') <> (probable_cause IS NOT NULL)")

    assert others.fetchall() == []


def test_a_figure_of_nought_is_not_a_unit_error(con):
    sample, chance = sample_of(20, 10)
    for account in sample.accounts:
        sample.set(account, a_quiet_day(account, chance), 0.0)

    assert set(causes_of(explained(con, sample))) == {"stale_valuation"}


def test_the_residual_of_an_explained_breach_is_within_the_tolerance(con):
    sample, chance = sample_of(20, 11)
    for account in sample.accounts:
        flows_at_another_time(sample, account, chance)
    relation = explained(con, sample).filter("probable_cause IS NOT NULL")

    assert relation.filter("abs(cause_residual_bps) > tolerance_bps").fetchall() == []


def test_the_explanation_is_one_sentence_with_the_numbers(con):
    sample, _ = sample_of(1, 12)
    account = sample.accounts[0]
    day = account.dates[5]
    account.days[day].flows = [Flow(50_000.0, "start_of_day")]
    account.days[day].value = account.days[account.before(day)].value * 1.05 + 51_234.56
    sample.report(account)
    sample.set(account, day, account.daily(day, weighted=0.0))

    detail = explained(con, sample).filter("probable_cause IS NOT NULL").fetchone()[13]

    assert detail.startswith(
        "With all flows at the end of the day (50,000.00), our return is "
        f"{account.daily(day, weighted=0.0) * 100:.6f} %"
    )


def test_gross_figures_are_explained_from_values_before_fees(con):
    sample, chance = sample_of(20, 13)
    for account in sample.accounts:
        sample.figures = {key: value for key, value in sample.figures.items() if value}
        day = a_flow_day(account, chance)
        if day:
            doubled = account.days[day].flow * 2, account.days[day].weighted * 2
            value = account.daily(day, "gross", flow=doubled[0], weighted=doubled[1])
            sample.figures[account.account_id, day, "daily", "gross"] = value
    relation = explained(con, sample).filter("basis = 'gross'")

    assert set(causes_of(relation)) == {"doubled_flow"}


def test_the_relation_keeps_the_columns_and_types_of_the_table(con):
    sample, chance = sample_of(3, 14)
    reversed_sign(sample, sample.accounts[0], chance)
    found = explained(con, sample).to_arrow_table().schema

    assert [(field.name, field.type) for field in found] == [
        (field.name, field.type) for field in RECONCILIATION.schema
    ]


def test_no_row_is_lost_or_added(con):
    sample, chance = sample_of(10, 15, ("daily", "mtd"))
    for account in sample.accounts:
        stale_value(sample, account, chance)
    before = reconcile(con, sample.returns(con), sample.reported(con), Tolerances())

    assert len(explained(con, sample)) == len(before)


def test_explaining_leaves_only_its_result_in_the_connection(con):
    sample, chance = sample_of(2, 16)
    reversed_sign(sample, sample.accounts[0], chance)
    explained(con, sample)

    tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()

    assert sorted(name.rpartition("_")[0] for (name,) in tables) == ["rulings", "winners"]


def breaches(con, details):
    rows = [
        {
            "account_id": f"A{number}",
            "as_of_date": date(2024, 3, 5),
            "vendor": "northgate",
            "tolerance_bps": Decimal(1),
            "reconciliation_status": "BREACH",
            "probable_cause": cause,
            "cause_detail": detail,
        }
        for number, (cause, detail) in enumerate(details)
    ]
    return con.from_arrow(table(RECONCILIATION.schema, rows))


LATE = ("flow_timing", "With all flows at the end of the day (1.00), our return is ...")
UNKNOWN = ("unexplained", "None of the known causes explains the gap of +1.00 bps.")


def test_a_cluster_says_how_many_breaches_one_change_would_mend(con):
    first = cluster(con, breaches(con, [LATE] * 14 + [UNKNOWN] * 3))[0]

    assert first.sentence == (
        "14 of 17 breaches of northgate vanish if its flows are at the end of the day."
    )


def test_clusters_name_what_nobody_can_explain(con):
    last = cluster(con, breaches(con, [LATE] * 14 + [UNKNOWN] * 3))[-1]

    assert (last.cause, last.sentence) == (
        "unexplained",
        "3 of 17 breaches of northgate have no known cause.",
    )


def test_the_share_of_a_cluster_is_of_the_vendors_breaches(con):
    assert cluster(con, breaches(con, [LATE, LATE, LATE, UNKNOWN]))[0].share == 0.75


def test_every_cause_has_a_sentence_in_its_cluster(con):
    details = [(one.cause, one.wording.replace("{amount}", "1.00")) for one in HYPOTHESES]

    assert not [
        one for one in cluster(con, breaches(con, details)) if "no known cause" in one.sentence
    ]
