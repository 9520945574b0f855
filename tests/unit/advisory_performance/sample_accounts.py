"""Clean random accounts, and the returns that follow from them, for tests of reconciliation.

The returns are computed here by the plain formula, day by day, so that the tests do not lean on
the code that they test. `Sample` holds plain values; a test spoils some and makes relations.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa

from pipeline_platform.advisory_performance.tables import (
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)

KNOWN = datetime(2024, 6, 1, tzinfo=UTC)
WEIGHTS = {"start_of_day": 1.0, "end_of_day": 0.0, "weighted": 0.5}
SHA = "ab" * 32


def business_days(first: date, count: int) -> list[date]:
    days = [first + timedelta(days=n) for n in range(count * 2)]
    return [day for day in days if day.weekday() < 5][:count]


@dataclass
class Flow:
    amount: float
    timing: str = "end_of_day"
    settlement_date: date | None = None
    is_delivered: bool = True


@dataclass
class Day:
    value: float
    flows: list[Flow] = field(default_factory=list)
    fees: float = 0.0
    fx_rate: float = 1.0

    @property
    def flow(self) -> float:
        return sum(flow.amount for flow in self.flows)

    @property
    def weighted(self) -> float:
        return sum(flow.amount * WEIGHTS[flow.timing] for flow in self.flows)


@dataclass
class Account:
    account_id: str
    days: dict[date, Day]
    vendor: str = "standard"
    account_class: str = "private"

    @property
    def dates(self) -> list[date]:
        return sorted(self.days)

    def before(self, day: date, steps: int = 1) -> date:
        return self.dates[self.dates.index(day) - steps]

    def after(self, day: date, steps: int = 1) -> date:
        return self.dates[self.dates.index(day) + steps]

    def daily(self, day: date, basis: str = "net", **changed: float) -> float:
        """Return of a day; `opening`, `closing`, `flow`, `weighted` can be replaced."""
        today = self.days[day]
        fees = today.fees if basis == "gross" else 0.0
        opening = changed.get("opening", self.days[self.before(day)].value)
        closing = changed.get("closing", today.value) + fees
        flow, weighted = changed.get("flow", today.flow), changed.get("weighted", today.weighted)
        return (closing - opening - flow) / (opening + weighted)

    def month_to_date(self, day: date, basis: str = "net", **replaced: float) -> float:
        """Linked return of the month; `replaced` maps an ISO date to another daily return."""
        growth = 1.0
        for each in self.dates[1:]:
            if each <= day and (each.year, each.month) == (day.year, day.month):
                growth *= 1 + replaced.get(each.isoformat(), self.daily(each, basis))
        return growth - 1


def clean_account(number: int, chance: random.Random, *, count: int = 45) -> Account:
    value, rate = round(chance.uniform(5e4, 5e6), 2), chance.uniform(0.5, 2.0)
    days = {}
    dates = business_days(date(2024, 1, 1), count)
    for index, day in enumerate(dates):
        flows = []
        if index and chance.random() < 0.25:
            amount = round(value * chance.uniform(0.02, 0.3) * chance.choice([-1, 1]), 2)
            settles = dates[index + 2] if index + 2 < count else None
            flows = [Flow(amount, chance.choice(list(WEIGHTS)), settles)]
        before = sum(flow.amount for flow in flows if flow.timing == "start_of_day")
        after = sum(flow.amount for flow in flows) - before
        value = (value + before) * (1 + chance.gauss(0.0004, 0.01)) + after
        fees = round(value * 0.0002, 2)
        value = round(value, 2)
        rate *= 1 + chance.gauss(0, 0.006)
        days[day] = Day(value, flows, fees, round(rate, 8))
    return Account(f"A{number:05d}", days)


def decimal(value: float | None, places: int) -> Decimal | None:
    return (
        None
        if value is None
        else Decimal(str(round(value, places))).quantize(Decimal(1).scaleb(-places))
    )


def table(schema: pa.Schema, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """A table of the schema; columns that a row doesn't name get a plain default or null."""
    defaults = {
        "known_from": KNOWN,
        "is_current": True,
        "file_sha256": SHA,
        "line_number": 1,
        "currency": "USD",
        "is_estimated": False,
        "return_status": "measured",
        "input_fingerprint": "",
        "vendor": "standard",
        "account_class": "private",
        "net_external_flow": Decimal(0),
        "flow_sequence": 1,
        "timing": "end_of_day",
        "record_start_date": date(2024, 1, 1),
        "decimals": 10,
        "period": "daily",
        "basis": "net",
    }
    whole = []
    for row in rows:
        full = {name: row.get(name, defaults.get(name)) for name in schema.names}
        if "as_of_month" in full:
            full["as_of_month"] = row["as_of_date"].replace(day=1)
        whole.append(full)
    return pa.Table.from_pylist(whole, schema=schema)


@dataclass
class Sample:
    """Accounts as delivered, and what the vendor reports, by (account, day, period, basis)."""

    accounts: list[Account]
    figures: dict[tuple[str, date, str, str], float | None] = field(default_factory=dict)
    decimals: dict[tuple[str, date, str, str], int] = field(default_factory=dict)
    undelivered: set[tuple[str, date]] = field(default_factory=set)

    def report(self, account: Account, periods: tuple[str, ...] = ("daily",)) -> None:
        """Have the vendor report right figures of these periods, net of fees."""
        for day in account.dates[1:]:
            for period in periods:
                right = account.daily if period == "daily" else account.month_to_date
                self.figures[account.account_id, day, period, "net"] = right(day)

    def set(self, account: Account, day: date, value: float | None, period: str = "daily") -> None:
        self.figures[account.account_id, day, period, "net"] = value

    def reported(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        vendors = {account.account_id: account.vendor for account in self.accounts}
        rows = []
        for key, value in self.figures.items():
            places = self.decimals.get(key, 10)
            if value is not None:
                rows.append(
                    {
                        "account_id": key[0],
                        "as_of_date": key[1],
                        "vendor": vendors[key[0]],
                        "period": key[2],
                        "basis": key[3],
                        "reported_return": decimal(round(value, places), 12),
                        "decimals": places,
                        "line_number": len(rows) + 2,
                    }
                )
        return con.from_arrow(table(REPORTED_RETURNS.schema, rows))

    def _delivered(self, account: Account) -> Account:
        """The account as our side sees it: without what was not delivered."""
        days = {}
        carried: list[Flow] = []
        for day in account.dates:
            today = account.days[day]
            flows = carried + [flow for flow in today.flows if flow.is_delivered]
            if (account.account_id, day) in self.undelivered:
                carried = flows
                continue
            days[day] = Day(today.value, flows, today.fees, today.fx_rate)
            carried = []
        return Account(account.account_id, days, account.vendor, account.account_class)

    def returns(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        rows = []
        for account in map(self._delivered, self.accounts):
            growth = {"net": 1.0, "gross": 1.0}
            for index, day in enumerate(account.dates):
                today = account.days[day]
                row: dict[str, object] = {
                    "account_id": account.account_id,
                    "as_of_date": day,
                    "vendor": account.vendor,
                    "account_class": account.account_class,
                    "market_value": decimal(today.value, 4),
                    "net_external_flow": decimal(today.flow, 4),
                    "fees": decimal(today.fees, 4),
                    "return_status": "measured" if index else "inception",
                    "record_start_date": account.dates[0],
                }
                if index:
                    before = account.before(day)
                    row["opening_value"] = decimal(account.days[before].value, 4)
                    for basis in ("net", "gross"):
                        if before.month != day.month:
                            growth[basis] = 1.0
                        daily = account.daily(day, basis)
                        growth[basis] *= 1 + daily
                        row[f"{basis}_return_daily"] = decimal(daily, 12)
                        row[f"{basis}_return_mtd"] = decimal(growth[basis] - 1, 12)
                rows.append(row)
        return con.from_arrow(table(TIME_WEIGHTED_RETURNS.schema, rows))

    def valuations(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        rows = [
            {
                "account_id": account.account_id,
                "as_of_date": day,
                "vendor": account.vendor,
                "market_value": decimal(today.value, 4),
                "fees": decimal(today.fees, 4),
                "fx_rate": decimal(today.fx_rate, 8),
            }
            for account in map(self._delivered, self.accounts)
            for day, today in account.days.items()
        ]
        return con.from_arrow(table(VALUATIONS.schema, rows))

    def flows(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        rows = [
            {
                "account_id": account.account_id,
                "as_of_date": day,
                "vendor": account.vendor,
                "flow_sequence": number,
                "amount": decimal(flow.amount, 4),
                "timing": flow.timing,
                "settlement_date": flow.settlement_date,
            }
            for account in self.accounts
            for day, today in account.days.items()
            for number, flow in enumerate(today.flows, start=1)
            if flow.is_delivered
        ]
        return con.from_arrow(table(EXTERNAL_FLOWS.schema, rows))
