"""Writes a vendor's file as the vendor would, and reads it as the pipeline does."""

import csv
import gzip
import io
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from pipeline_platform.advisory_performance.deliveries import Delivery, open_delivery
from pipeline_platform.advisory_performance.vendor_formats import FixedWidth, Position
from pipeline_platform.advisory_performance.vendors import VendorMapping, load_mappings

TODAY = date(2026, 11, 20)
RECEIVED_AT = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
SHA256 = "ab" * 32
MAPPINGS = load_mappings()
STANDARD_HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,"
    "reported_return,reported_period,currency"
)


def standard_line(account: str = "A-1", day: str = "2026-10-01", value: str = "100.00") -> str:
    return f"{account},{day},{value},,,0.0012,daily,USD"


def standard_file(*lines: str, header: str = STANDARD_HEADER) -> bytes:
    return "\n".join([header, *lines, ""]).encode()


@dataclass
class Reading:
    rows: list[dict[str, object]]
    delivery: Delivery

    @property
    def rules(self) -> list[tuple[int, str]]:
        return [(line.line_number, line.rule) for line in self.delivery.rejected]

    def values(self, field: str) -> list[object]:
        return [row[field] for row in sorted(self.rows, key=lambda row: row["line_number"])]


def deliver(folder: Path, content: bytes, vendor: str = "standard", **options: object) -> Delivery:
    mapping = options.pop("mapping", MAPPINGS[vendor])
    path = folder / "delivered"
    path.write_bytes(content)
    return open_delivery(
        path,
        mapping.file_name.example,
        mapping,
        today=TODAY,
        received_at=RECEIVED_AT,
        file_sha256=SHA256,
        **options,
    )


def read(folder: Path, content: bytes, vendor: str = "standard", **options: object) -> Reading:
    delivery = deliver(folder, content, vendor, **options)
    return Reading([row for batch in delivery for row in batch.to_pylist()], delivery)


def delimited_bytes(mapping: VendorMapping, rows: list[dict[str, str]]) -> bytes:
    """Rows are vendor column -> text; every mapped column is written."""
    text = io.StringIO()
    layout = mapping.format
    writer = csv.writer(text, delimiter=layout.delimiter, lineterminator="\r\n")
    writer.writerow(list(mapping.columns))
    writer.writerows([[row.get(column, "") for column in mapping.columns] for row in rows])
    return text.getvalue().encode(layout.encoding)


def json_lines_bytes(mapping: VendorMapping, rows: list[dict[str, str]]) -> bytes:
    lines = []
    for row in rows:
        record: dict[str, object] = {}
        for column, value in row.items():
            *parents, key = column.split(".")
            place = record
            for parent in parents:
                place = place.setdefault(parent, {})
            place[key] = value
        lines.append(json.dumps(record, ensure_ascii=len(lines) % 2 == 0))
    return gzip.compress("\n".join(lines).encode())


def _put(line: str, position: Position, text: str) -> str:
    assert len(text) <= position.width
    start = position.start - 1
    return line[:start] + text.rjust(position.width) + line[start + position.width :]


def fixed_width_bytes(
    mapping: VendorMapping,
    rows: list[tuple[str, dict[str, str]]],
    *,
    row_count: str | None = None,
    total: str | None = None,
) -> bytes:
    """Rows are (record code, vendor column -> text); header and true trailer are added."""
    layout = mapping.format
    assert isinstance(layout, FixedWidth)
    by_code = {record.code: record for record in layout.records}
    blank = " " * layout.width
    lines = [_put(blank, layout.record_code, layout.header_code)]
    control = Decimal(0)
    for code, row in rows:
        line = _put(blank, layout.record_code, code)
        for column, text in row.items():
            line = _put(line, by_code[code].columns[column], text)
            plain = mapping.numbers.plain(text)
            if column in layout.trailer.control_columns and plain:
                control += Decimal(plain)
        lines.append(line)
    trailer = _put(blank, layout.record_code, layout.trailer.code)
    trailer = _put(trailer, layout.trailer.row_count, row_count or str(len(rows)))
    trailer = _put(trailer, layout.trailer.control_total, total or f"{control:f}")
    return "\n".join([*lines, trailer, ""]).encode(layout.encoding)


def valuation(account: str = "4711", value: str = "100.00", day: str = "20261001") -> tuple:
    return "VAL", {"account": account, "date": day, "currency": "USD", "value": value}


def flow(amount: str = "25.00", direction: str = "D", timing: str = "W") -> tuple:
    columns = {"account": "4711", "date": "20261001", "amount": amount, "direction": direction}
    return "FLW", {**columns, "currency": "USD", "timing": timing, "weight": "0.25"}


def reported(basis_points: str = "12.5", period: str = "DAY") -> tuple:
    columns = {"account": "4711", "date": "20261001", "period": period, "basis": "N"}
    return "RET", {**columns, "basis_points": basis_points}
