"""Bronze rows for tests of normalisation, and what became of them."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache

import duckdb
import pyarrow as pa

from pipeline_platform.advisory_performance.normalisation import Normalised, normalise
from pipeline_platform.advisory_performance.tables import VENDOR_ROWS
from pipeline_platform.advisory_performance.vendors import VendorMapping, load_mappings
from pipeline_platform.quality.contracts import RowRule

FIRST_ARRIVAL = datetime(2026, 10, 2, 6, 0, tzinfo=UTC)


@cache
def mappings() -> Mapping[str, VendorMapping]:
    return load_mappings()


def sha_of(file: int) -> str:
    return hashlib.sha256(f"file {file}".encode()).hexdigest()


def arrival_of(file: int) -> datetime:
    return FIRST_ARRIVAL + timedelta(hours=file)


def record(file: int = 1, line: int = 2, **values: object) -> dict[str, object]:
    """One bronze row; file n arrives n hours after FIRST_ARRIVAL."""
    row: dict[str, object] = {
        "account_id": "A-1",
        "as_of_date": "2026-10-01",
        "record_type": "combined",
        "vendor": "standard",
        "file_name": f"delivery_{file}",
        "file_sha256": sha_of(file),
        "line_number": line,
        "received_at": arrival_of(file),
        "currency": "USD",
        **values,
    }
    row.setdefault("as_of_month", date.fromisoformat(f"{str(row['as_of_date'])[:7]}-01"))
    return row


def valuation(value: str = "100.00", file: int = 1, line: int = 2, **values: object) -> dict:
    return record(file, line, record_type="valuation", market_value=value, **values)


def flow(amount: str = "5.00", file: int = 1, line: int = 2, **values: object) -> dict:
    return record(file, line, record_type="flow", external_flow=amount, **values)


def reported(value: str = "0.0123", file: int = 1, line: int = 2, **values: object) -> dict:
    return record(file, line, record_type="return", reported_return=value, **values)


def connect(threads: int = 1) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"threads": threads})
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = false")
    return con


class Outcome:
    """What normalisation made of rows, as plain Python values."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, object]],
        *,
        known: Mapping[str, VendorMapping] | None = None,
        rules: Mapping[str, Sequence[RowRule]] | None = None,
        owners: Mapping[str, str] | None = None,
        con: duckdb.DuckDBPyConnection | None = None,
    ) -> None:
        self.con = con or connect()
        bronze = pa.Table.from_pylist(list(rows), schema=VENDOR_ROWS.schema)
        known_owners = None
        if owners is not None:
            known_owners = self.con.from_arrow(
                pa.table({"account_id": list(owners), "vendor": list(owners.values())})
            )
        self.normalised: Normalised = normalise(
            self.con,
            self.con.from_arrow(bronze),
            mappings() if known is None else known,
            rules or {},
            account_owners=known_owners,
        )

    def values(self, table: str, columns: str) -> list:
        """Rows of one result in a fixed order; single columns without their tuple."""
        relation: duckdb.DuckDBPyRelation = getattr(self.normalised, table)
        rows = relation.project(columns).order("ALL").fetchall()
        return [row[0] for row in rows] if rows and len(rows[0]) == 1 else rows

    @property
    def rules(self) -> list:
        return self.values("rejected", "rule")

    @property
    def reasons(self) -> list:
        return self.values("rejected", "reason")

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """Arrived, published, quarantined, deduplicated."""
        sums = "sum(arrived)::INT, sum(published)::INT, sum(quarantined)::INT"
        found = self.normalised.counts.aggregate(f"{sums}, sum(deduplicated)::INT").fetchone()
        assert found is not None
        return found

    def everything(self) -> dict[str, list]:
        return {
            table: self.values(table, "*")
            for table in (
                "valuations",
                "external_flows",
                "reported_returns",
                "rejected",
                "counts",
            )
        }
