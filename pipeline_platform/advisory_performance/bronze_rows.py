"""Records of a delivered file as bronze rows.

Only what the partition and the key need is read here: `as_of_date` becomes ISO, `account_id` is
normalised by the mapping. Every other value stays as it was delivered, signs and units included.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.delivery_chunks import Chunk, quoted, rejected_line
from pipeline_platform.advisory_performance.tables import DELIVERED_FIELDS, INSTANT, VENDOR_ROWS
from pipeline_platform.advisory_performance.vendor_formats import FixedWidth
from pipeline_platform.advisory_performance.vendor_mapping import (
    FLOW_INDICATOR,
    RecordTypeColumn,
    VendorMapping,
)
from pipeline_platform.advisory_performance.vendors import parse_day
from pipeline_platform.ingestion.rejected_lines import RejectedLine

EARLIEST_DAY = date(1990, 1, 1)
_ACCOUNTS_REMEMBERED = 100_000
_Fault = tuple[str, str, str]


def months_of(batch: pa.RecordBatch) -> Counter[str]:
    """Count the rows of bronze by month 'YYYY-MM-01'."""
    found = pc.value_counts(batch["as_of_month"]).to_pylist()
    return Counter({entry["values"].isoformat(): entry["counts"] for entry in found})


class BronzeRows:
    """Makes bronze rows of one file's records."""

    def __init__(
        self,
        mapping: VendorMapping,
        file_name: str,
        file_sha256: str,
        received_at: datetime,
        today: date,
    ) -> None:
        self._mapping = mapping
        self._file_name = file_name
        self._file_sha256 = file_sha256
        self._received_at = received_at
        self._today = today
        self._accounts_seen: dict[str, str | None] = {}
        self._nothing = frozenset({"", *mapping.null_tokens})

    def batch(self, chunk: Chunk) -> tuple[pa.RecordBatch, list[RejectedLine]]:
        """Return the records as bronze rows, and those without valid day, account or type."""
        size = len(chunk.records)
        columns = self._canonical_columns(chunk, size)
        texts = columns["as_of_date"]
        days = self._days(texts)
        accounts = self._accounts(columns["account_id"])
        record_types = self._record_types(chunk, size)
        is_good = pc.and_(
            pc.and_(pc.is_valid(days), pc.is_valid(accounts)), pc.is_valid(record_types)
        )
        values = {
            **columns,
            "as_of_date": pc.cast(days, pa.string()),
            "account_id": accounts,
            "record_type": record_types,
            "extra": self._extra(chunk, size),
            "vendor": pa.repeat(self._mapping.vendor, size),
            "file_name": pa.repeat(self._file_name, size),
            "file_sha256": pa.repeat(self._file_sha256, size),
            "line_number": pa.array(chunk.line_numbers, pa.int64()),
            "received_at": pa.repeat(pa.scalar(self._received_at, INSTANT), size),
            "as_of_month": pc.cast(pc.floor_temporal(days, unit="month"), pa.date32()),
        }
        arrays = [values[name] for name in VENDOR_ROWS.schema.names]
        rejected: list[RejectedLine] = []
        if not pc.all(is_good).as_py():
            arrays = [array.filter(is_good) for array in arrays]
            rejected = [
                self._rejected(chunk, row, texts[row].as_py(), days[row].as_py(), accounts[row])
                for row in pc.indices_nonzero(pc.invert(is_good)).to_pylist()
            ]
        return pa.RecordBatch.from_arrays(arrays, schema=VENDOR_ROWS.schema), rejected

    def _canonical_columns(self, chunk: Chunk, size: int) -> dict[str, pa.Array]:
        """Return every canonical field as text; what is not there or empty is null."""
        columns = dict.fromkeys(DELIVERED_FIELDS, pa.nulls(size, pa.string()))
        for name, fields in self._mapping.columns.items():
            if name not in chunk.columns:
                continue
            text = chunk.columns[name]
            text = pc.if_else(pc.equal(text, ""), None, text)
            columns.update({field: text for field in fields if field != FLOW_INDICATOR})
        return columns

    def _is_nothing(self, text: str | None) -> bool:
        return text is None or text.strip() in self._nothing

    def _day(self, text: str | None) -> date | None:
        if text is None or self._is_nothing(text):
            return None
        day = parse_day(text, self._mapping.date_formats)
        return day if day and EARLIEST_DAY <= day <= self._today else None

    def _account(self, text: str | None) -> str | None:
        if text is None:
            return None
        if text not in self._accounts_seen:
            account = None if self._is_nothing(text) else self._mapping.account.apply(text)
            self._accounts_seen[text] = account or None
        return self._accounts_seen[text]

    def _days(self, texts: pa.Array) -> pa.Array:
        distinct = texts.dictionary_encode()
        days = pa.array([self._day(text) for text in distinct.dictionary.to_pylist()], pa.date32())
        return days.take(distinct.indices)

    def _accounts(self, texts: pa.Array) -> pa.Array:
        distinct = texts.dictionary_encode()
        if len(self._accounts_seen) > _ACCOUNTS_REMEMBERED:
            self._accounts_seen.clear()
        names = [self._account(text) for text in distinct.dictionary.to_pylist()]
        return pa.array(names, pa.string()).take(distinct.indices)

    def _record_types(self, chunk: Chunk, size: int) -> pa.Array:
        """Return the record types, null where the mapping does not know the value."""
        rule = self._mapping.record_type
        if isinstance(rule, RecordTypeColumn):
            given = chunk.columns[rule.column].to_pylist()
            return pa.array([rule.values.get(value or "") for value in given], pa.string())
        is_fixed = isinstance(self._mapping.format, FixedWidth)
        return pa.repeat(chunk.record_type if is_fixed else rule, size)

    def _extra(self, chunk: Chunk, size: int) -> pa.Array:
        """Return the JSON object of flow indicator and extra columns, null where all are."""
        columns = {name: name for name in self._mapping.extra_columns if name in chunk.columns}
        indicator = self._mapping.column_of.get(FLOW_INDICATOR)
        if indicator in chunk.columns:
            columns[FLOW_INDICATOR] = str(indicator)
        if not columns:
            return pa.nulls(size, pa.string())
        rows = zip(*(chunk.columns[name].to_pylist() for name in columns.values()), strict=True)
        texts: dict[Sequence[str | None], str | None] = {}
        return pa.array([_extra_text(texts, tuple(columns), row) for row in rows], pa.string())

    def _rejected(
        self, chunk: Chunk, row: int, text: str | None, day: date | None, account: pa.Scalar
    ) -> RejectedLine:
        if day is None:
            rule, reason, field = self._day_fault(text)
        elif not account.is_valid:
            rule, reason, field = "missing_account", "has no account.", "account_id"
        else:
            rule, field = "unknown_record_type", "record_type"
            reason = "has a record type that the mapping does not know."
        column = self._mapping.column_of.get(field)
        if field == "record_type" and isinstance(self._mapping.record_type, RecordTypeColumn):
            column = self._mapping.record_type.column
        line = rejected_line(chunk.line_numbers[row], chunk.records[row], rule, reason, column)
        key = day.replace(day=1).isoformat() if day else ""
        return replace(line, partition_key=key)

    def _day_fault(self, text: str | None) -> _Fault:
        if text is None or self._is_nothing(text):
            return "missing_date", "has no as-of date.", "as_of_date"
        day = parse_day(text, self._mapping.date_formats)
        if day is None:
            formats = " or ".join(self._mapping.date_formats)
            reason = f"has an as-of date {quoted(text)} that is no day in the format {formats}."
            return "invalid_date", reason, "as_of_date"
        if day > self._today:
            reason = f"has the as-of date {day}, which is after today, {self._today}."
            return "future_date", reason, "as_of_date"
        reason = f"has the as-of date {day}, which is before {EARLIEST_DAY}."
        return "date_too_early", reason, "as_of_date"


def _extra_text(
    texts: dict[Sequence[str | None], str | None],
    names: Sequence[str],
    row: Sequence[str | None],
) -> str | None:
    if row not in texts:
        values = {name: value for name, value in zip(names, row, strict=True) if value}
        texts[row] = json.dumps(values, ensure_ascii=False) if values else None
    return texts[row]
