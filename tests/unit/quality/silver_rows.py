"""Good silver rows to damage, and the contracts that judge them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_platform import advisory_performance
from pipeline_platform.advisory_performance.tables import (
    EXTERNAL_FLOWS,
    REPORTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.quality.contracts import Contract

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FOLDER = Path(advisory_performance.__file__).parent / "contracts"
TABLES = {table.name: table for table in (VALUATIONS, EXTERNAL_FLOWS, REPORTED_RETURNS)}
CONTRACTS = {name: Contract.load(FOLDER / f"{name}.yaml") for name in TABLES}

Row = dict[str, Any]

_COMMON: Row = {
    "account_id": "A-100",
    "as_of_date": date(2026, 10, 15),
    "as_of_month": date(2026, 10, 1),
    "vendor": "standard",
    "currency": "USD",
    "file_sha256": "ab" * 32,
    "line_number": 2,
    "known_from": datetime(2026, 10, 16, 4, tzinfo=UTC),
    "known_to": None,
    "is_current": True,
}
_OWN: dict[str, Row] = {
    "valuations": {
        "market_value": Decimal("1050000.25"),
        "fx_rate": Decimal("1.08"),
        "fees": Decimal("12.50"),
        "account_class": "private",
    },
    "external_flows": {
        "flow_sequence": 1,
        "flow_id": "F1",
        "amount": Decimal("-2500"),
        "timing": "weighted",
        "weight": Decimal("0.25"),
        "valuation_before_flow": Decimal("1052500"),
        "settlement_date": date(2026, 10, 17),
    },
    "reported_returns": {
        "period": "daily",
        "basis": "net",
        "reported_return": Decimal("0.0012"),
        "decimals": 4,
    },
}


def good_row(table: str, **changes: Any) -> Row:
    """Return a row that keeps every rule, with some values changed."""
    return {**_COMMON, **_OWN[table], **changes}


def as_table(table: str, rows: list[Row]) -> pa.Table:
    """Return rows as the silver table's columns and types; anything may be null here."""
    schema = pa.schema([(field.name, field.type) for field in TABLES[table].schema])
    return pa.Table.from_pylist(rows, schema=schema)


def good_rows(table: str) -> list[Row]:
    """Return ten days of one account, among them a corrected one."""
    rows = [
        good_row(table, as_of_date=date(2026, 10, day), line_number=day) for day in range(5, 15)
    ]
    corrected = good_row(
        table, as_of_date=date(2026, 10, 5), known_to=_COMMON["known_from"], is_current=False
    )
    return [corrected, *rows]
