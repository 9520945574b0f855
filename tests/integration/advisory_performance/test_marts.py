"""Every mart holds what plain Python computes from the same rows of silver and gold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance import marts
from pipeline_platform.advisory_performance.marts import MARTS, account_slices
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_PERFORMANCE,
    COMPOSITE_RETURNS,
    QUALITY_SUMMARY,
    RECONCILIATION,
    RESTATEMENTS,
    RETURN_COLUMNS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
    VENDOR_RECONCILIATION_DAILY,
)
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.mart_builds import build_pieces
from pipeline_platform.orchestration.mart_tests import dbt_tests_of
from pipeline_platform.quality.mutation_scores import run_of
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.advisory_performance import expected_marts as expected
from tests.integration.advisory_performance.expected_marts import Row

AUGUST, SEPTEMBER, OCTOBER = date(2024, 8, 1), date(2024, 9, 1), date(2024, 10, 1)
DAYS = [
    day for day in (AUGUST + timedelta(days=number) for number in range(92)) if day.weekday() < 5
]
LAST = {
    month: max(day for day in DAYS if day.month == month.month) for month in (AUGUST, SEPTEMBER)
}
STATUSES = ("COMPLETED", "COMPLETED", "BREACH", "MISSING_VENDOR", "MISSING_OURS", "PENDING")
KNOWN = datetime(2024, 11, 1, tzinfo=UTC)


def return_of(account: str, day: date, random: Random, **more: Any) -> Row:
    """Make a row of TIME_WEIGHTED_RETURNS of a private account in euros, its figures random."""
    return {
        "account_id": account,
        "as_of_date": day,
        "as_of_month": day.replace(day=1),
        "vendor": "north" if account < "m" else "south",
        "currency": "EUR",
        "account_class": "private",
        "market_value": _decimal(random.uniform(1e3, 1e7), 4),
        "net_external_flow": _decimal(random.choice((0, 0, random.uniform(-1e4, 1e4))), 4),
        "fees": random.choice((None, Decimal("1.2500"), Decimal("0.0000"))),
        **{
            name: random.choice((None, _decimal(random.uniform(-0.5, 0.5), 12)))
            for name in RETURN_COLUMNS
        },
        "net_return_mtd": _decimal(random.uniform(-0.2, 0.2), 12),
        "gross_return_mtd": _decimal(random.uniform(-0.2, 0.2), 12),
        "record_start_date": date(2024, 1, 15),
        "is_estimated": random.random() < 0.2,
        "return_status": random.choice(("measured", "measured", "non_positive_base")),
        "input_fingerprint": "0" * 16,
        "known_from": KNOWN,
        "known_to": None,
        "is_current": True,
        **more,
    }


def random_returns(random: Random) -> Iterator[Row]:
    """Make two full composites, one too small, and an account for each rule of membership."""
    for number in range(8):
        yield from _history(f"full-{number}", random)
    for number in range(7):
        yield from _history(f"usd-{number}", random, currency="USD", gross_return_mtd=None)
    for number in range(5):
        yield from _history(f"small-{number}", random, account_class="pension")
    yield from _history("begins", random, first=date(2024, 9, 10))
    yield from _history("ends", random, last=date(2024, 10, 18))
    yield from _history("ends-three-days-early", random, last=date(2024, 10, 28))
    yield from _history("gone-at-the-beginning", random, gap=(date(2024, 9, 20), date(2024, 10, 9)))
    for day in DAYS:
        yield return_of("other-class", day, random, account_class=_class_until(day))
        yield return_of("other-currency", day, random, currency="EUR" if day.month < 10 else "USD")
        zero = Decimal(0) if day == LAST[SEPTEMBER] else Decimal(500)
        yield return_of("empty-at-first", day, random, market_value=zero)
        debt = Decimal(-10) if day == LAST[AUGUST] else Decimal(500)
        yield return_of("in-debt-at-first", day, random, market_value=debt)
        begun = date(2024, 10, 1) if day.month == 10 else date(2024, 1, 15)
        yield return_of("began-anew", day, random, record_start_date=begun)
        begun = date(2024, 9, 30) if day >= date(2024, 9, 30) else date(2024, 1, 15)
        yield return_of("began-the-day-before", day, random, record_start_date=begun)
        missing = None if day.month == 10 else Decimal("0.01")
        yield return_of("without-a-return", day, random, net_return_mtd=missing)
    for day in DAYS[::7]:
        yield return_of("full-0", day, random, is_current=False, known_to=KNOWN)


def _history(
    account: str,
    random: Random,
    *,
    first: date = DAYS[0],
    last: date = DAYS[-1],
    gap: tuple[date, date] = (date.max, date.max),
    **more: Any,
) -> Iterator[Row]:
    for day in DAYS:
        if first <= day <= last and not gap[0] <= day <= gap[1]:
            yield return_of(account, day, random, **more)


def _class_until(day: date) -> str:
    return "private" if day < date(2024, 10, 14) else "pension"


def random_figures(random: Random, returns: list[Row]) -> Iterator[Row]:
    """Make figures of every status: days of one status alone, and causes that tie."""
    for one in returns:
        if not one["is_current"] or random.random() < 0.5:
            continue
        quiet = one["as_of_date"].day
        status = "PENDING" if quiet == 3 else "BREACH" if quiet == 4 else random.choice(STATUSES)
        if one["account_id"] == "full-1":
            status = random.choice(("COMPLETED", "PENDING"))
        is_compared = status in {"COMPLETED", "BREACH"}
        yield {
            **{name: one[name] for name in ("account_id", "as_of_date", "as_of_month", "vendor")},
            "account_class": one["account_class"],
            "period": "daily",
            "basis": "net",
            "difference_bps": _decimal(random.uniform(-90, 90), 6) if is_compared else None,
            "tolerance_bps": Decimal(1),
            "reconciliation_status": status,
            "probable_cause": (
                random.choice(("flow_sign", "rounding", "return_unit", None))
                if status == "BREACH"
                else None
            ),
        }


def random_valuations(random: Random, returns: list[Row]) -> Iterator[Row]:
    """Make the valuations of these days, some missing, some corrected."""
    for one in returns:
        if not one["is_current"] or random.random() < 0.1:
            continue
        names = ("account_id", "as_of_date", "as_of_month", "vendor", "market_value", "currency")
        row = {
            **{name: one[name] for name in names},
            "account_class": one["account_class"],
            "file_sha256": "0" * 64,
            "line_number": 1,
            "known_from": KNOWN,
            "is_current": True,
        }
        for number in range(random.choice((0, 0, 0, 1, 2))):
            at = KNOWN - timedelta(days=number + 1)
            yield {**row, "known_from": at, "known_to": KNOWN, "is_current": False}
        yield row


def random_restatements(random: Random, returns: list[Row]) -> Iterator[Row]:
    """Make restatements of one vendor alone."""
    for one in returns[::11]:
        if one["vendor"] == "north":
            yield {
                **{name: one[name] for name in ("account_id", "as_of_date", "as_of_month")},
                "vendor": "north",
                "measure": "market_value",
                "previous_value": Decimal(1),
                "restated_value": Decimal(2),
                "is_material": random.random() < 0.5,
                "materiality_rule": "made up",
                "previously_known_from": KNOWN,
                "restated_at": KNOWN,
            }


def _decimal(number: float, digits: int) -> Decimal:
    return Decimal(number).quantize(Decimal(1).scaleb(-digits))


def publish(services: Services, table: LakeTable, rows: list[Row]) -> None:
    """Publish rows as all that a table holds."""
    complete = [{name: row.get(name) for name in table.schema.names} for row in rows]
    staged = services.lake.stage(
        table,
        pa.Table.from_pylist(complete, schema=table.schema),
        run_id=f"made-{table.name}",
        partition="all",
    )
    services.lake.publish(staged, replace="true", properties={})


@dataclass(frozen=True)
class Built:
    """The marts of September and October, and the rows that they were built from."""

    services: Services
    returns: list[Row]
    figures: list[Row]
    valuations: list[Row]
    restatements: list[Row]

    def rows(self, table: LakeTable) -> list[Row]:
        with self.services.connect() as con:
            return self.services.lake.relation(con, table).order("ALL").to_arrow_table().to_pylist()

    def accounts(self, composite: str, month: date) -> set[str]:
        """Return the members that the expected computation finds."""
        return {
            end["account_id"]
            for _, end in expected.composite_members(self.returns, month)
            if f"{end['account_class']} {end['currency']}" == composite
        }


@pytest.fixture(scope="module")
def built(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    random = Random(11)
    returns = list(random_returns(random))
    figures = list(random_figures(random, returns))
    valuations = list(random_valuations(random, returns))
    restatements = list(random_restatements(random, returns))
    settings = Settings(
        home=tmp_path_factory.mktemp("marts"),
        environment="test",
        database_url=SecretStr(new_database()),
    )
    with Services(settings) as services:
        publish(services, TIME_WEIGHTED_RETURNS, returns)
        publish(services, RECONCILIATION, figures)
        publish(services, VALUATIONS, valuations)
        publish(services, RESTATEMENTS, restatements)
        for _ in build_pieces(services, MARTS, (SEPTEMBER, OCTOBER), {}, "marts"):
            pass
        yield Built(services, returns, figures, valuations, restatements)


def of_built_months(rows: list[Row]) -> list[Row]:
    return [one for one in rows if one["as_of_month"] >= SEPTEMBER]


def test_account_performance(built: Built) -> None:
    wanted = expected.account_performance(
        of_built_months(built.returns), of_built_months(built.figures)
    )

    assert built.rows(ACCOUNT_PERFORMANCE) == wanted
    assert {row["is_reconciled"] for row in wanted} == {True, False}


def test_vendor_reconciliation_daily(built: Built) -> None:
    wanted = expected.vendor_reconciliation_daily(of_built_months(built.figures))

    assert built.rows(VENDOR_RECONCILIATION_DAILY) == wanted
    assert {row["pass_rate_pct"] is None for row in wanted} == {True, False}


def test_quality_summary(built: Built) -> None:
    wanted = expected.quality_summary(
        of_built_months(built.valuations),
        of_built_months(built.returns),
        of_built_months(built.restatements),
    )

    assert built.rows(QUALITY_SUMMARY) == wanted
    assert min(row["completeness_pct"] for row in wanted) < 100


def test_composite_returns(built: Built) -> None:
    wanted = expected.composite_returns(built.returns, (SEPTEMBER, OCTOBER))

    assert built.rows(COMPOSITE_RETURNS) == wanted
    assert {row["internal_dispersion"] is None for row in wanted} == {True, False}
    assert {row["gross_return"] is None for row in wanted} == {True, False}


ALWAYS = {*(f"full-{number}" for number in range(8)), "ends-three-days-early"}


@pytest.mark.parametrize(
    ("month", "composite", "members"),
    [
        (
            SEPTEMBER,
            "private EUR",
            ALWAYS
            | {"ends", "other-class", "other-currency", "empty-at-first", "began-anew"}
            | {"without-a-return"},
        ),
        (OCTOBER, "private EUR", ALWAYS | {"begins", "began-the-day-before", "in-debt-at-first"}),
        (OCTOBER, "private USD", {f"usd-{number}" for number in range(7)}),
        (OCTOBER, "pension EUR", {f"small-{number}" for number in range(5)}),
    ],
    ids=["September", "October", "another currency", "another class"],
)
def test_a_composite_holds_whoever_was_in_it_for_the_whole_month(
    built: Built, month: date, composite: str, members: set[str]
) -> None:
    (row,) = [
        one
        for one in built.rows(COMPOSITE_RETURNS)
        if (one["as_of_month"], one["composite"]) == (month, composite)
    ]

    assert built.accounts(composite, month) == members
    assert row["account_count"] == len(members)


@pytest.mark.parametrize(
    ("mart", "damage", "test"),
    [
        (ACCOUNT_PERFORMANCE, "closing_value * 100 AS closing_value", "agrees_with_returns"),
        (ACCOUNT_PERFORMANCE, "-net_return_ytd AS net_return_ytd", "agrees_with_returns"),
        (VENDOR_RECONCILIATION_DAILY, "NULL AS breach_count", "days_agree_with_figures"),
        (QUALITY_SUMMARY, "account_count + 1 AS account_count", "agrees_with_its_parts"),
        (COMPOSITE_RETURNS, "ending_assets * 100 AS ending_assets", "lie_within_their_members"),
    ],
)
def test_a_damaged_mart_fails_its_dbt_test(
    built: Built, mart: LakeTable, damage: str, test: str
) -> None:
    run = run_of(built.services, load_runbook(), "damaged")
    tests = dbt_tests_of(run, MARTS)["/".join(mart.asset_key)](OCTOBER)
    rows = built.services.lake.pin(mart, months=(OCTOBER, OCTOBER)).query
    with built.services.connect() as engine:
        tests.open(engine)
        whole = list(tests.failed(engine, rows, [*tests.queries]))
        replaced = f"SELECT * REPLACE ({damage}) FROM ({rows})"
        failed = list(tests.failed(engine, replaced, [*tests.queries]))
    assert whole == []
    assert [name for name in failed if name.endswith(test)]


def test_months_built_in_pieces_equal_months_built_in_one_go(built: Built) -> None:
    at_once = [built.rows(table) for table in MARTS.tables]
    by_month = replace(MARTS, rows_per_megabyte=0)

    for table in MARTS.tables:
        publish(built.services, table, [])
    pieces = list(
        build_pieces(built.services, by_month, (SEPTEMBER, OCTOBER), {}, "marts in pieces")
    )

    assert [piece.span for piece in pieces] == [(SEPTEMBER, SEPTEMBER), (OCTOBER, OCTOBER)]
    assert [built.rows(table) for table in MARTS.tables] == at_once


def test_slices_of_accounts_equal_all_accounts_at_once(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = [built.rows(table) for table in MARTS.tables]
    cut = account_slices(built.services.lake, (SEPTEMBER, OCTOBER))
    monkeypatch.setattr(marts, "BYTES_PER_ACCOUNT", built.services.settings.memory_bytes // 4)

    for table in MARTS.tables:
        publish(built.services, table, [])
    list(build_pieces(built.services, MARTS, (SEPTEMBER, OCTOBER), {}, "marts in slices"))

    assert len(cut) == 1 < len(account_slices(built.services.lake, (SEPTEMBER, OCTOBER)))
    assert [built.rows(table) for table in MARTS.tables] == at_once
