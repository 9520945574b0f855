"""Silver rows for tests of returns, written as short tuples."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

from pipeline_platform.advisory_performance.tables import EXTERNAL_FLOWS, VALUATIONS
from pipeline_platform.advisory_performance.twrr import Returns, ReturnSettings, compute_returns

KNOWN = datetime(2030, 1, 1, tzinfo=UTC)
CALENDAR = ReturnSettings()


@dataclass(frozen=True)
class Value:
    """A market value after fees."""

    day: date
    amount: str
    fees: str | None = None
    account: str = "A"
    currency: str = "USD"


@dataclass(frozen=True)
class Flow:
    """An external flow; `before` is the value just before it."""

    day: date
    amount: str
    timing: str = "end_of_day"
    weight: str | None = None
    before: str | None = None
    account: str = "A"
    sequence: int = 0
    currency: str = "USD"


def day(text: str) -> date:
    return date.fromisoformat(text)


def valuations(values: Iterable[Value]) -> pa.Table:
    rows = [
        {
            **_common(value),
            "market_value": Decimal(value.amount),
            "fx_rate": None,
            "fees": None if value.fees is None else Decimal(value.fees),
            "account_class": "equity",
        }
        for value in values
    ]
    return pa.Table.from_pylist(rows, schema=VALUATIONS.schema)


def external_flows(flows: Iterable[Flow]) -> pa.Table:
    rows = [
        {
            **_common(flow),
            "flow_sequence": flow.sequence,
            "amount": Decimal(flow.amount),
            "timing": flow.timing,
            "weight": None if flow.weight is None else Decimal(flow.weight),
            "valuation_before_flow": None if flow.before is None else Decimal(flow.before),
        }
        for flow in flows
    ]
    return pa.Table.from_pylist(rows, schema=EXTERNAL_FLOWS.schema)


def returns_of(
    values: Iterable[Value], flows: Iterable[Flow] = (), settings: ReturnSettings = CALENDAR
) -> Returns:
    return compute_returns(
        valuations(values), external_flows(flows), states=None, history=None, settings=settings
    )


def rows_of(
    values: Iterable[Value], flows: Iterable[Flow] = (), settings: ReturnSettings = CALENDAR
) -> list[dict[str, object]]:
    return returns_of(values, flows, settings).table.to_pylist()


def figures(
    column: str,
    values: Iterable[Value],
    flows: Iterable[Flow] = (),
    settings: ReturnSettings = CALENDAR,
) -> list[str | None]:
    """One column of the result as text, without trailing zeros."""
    found = [row[column] for row in rows_of(values, flows, settings)]
    return [None if each is None else _plain(each) for each in found]


def _plain(figure: object) -> str:
    if isinstance(figure, Decimal):
        return f"{figure:f}".rstrip("0").rstrip(".")
    return str(figure)


def _common(row: Value | Flow) -> dict[str, object]:
    return {
        "account_id": row.account,
        "as_of_date": row.day,
        "as_of_month": row.day.replace(day=1),
        "vendor": "standard",
        "currency": row.currency,
        "file_sha256": "0" * 64,
        "line_number": 1,
        "known_from": KNOWN,
        "known_to": None,
        "is_current": True,
    }
