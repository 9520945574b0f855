"""Rows that can't be right and files that can't be read, with the rule that must name each."""

import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from pipeline_platform.advisory_performance.samples.vendor_files import Record
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping

FAR_FUTURE = timedelta(days=3650)
TOO_EARLY = date(1985, 3, 4)

ROW_FAULTS = {
    "unknown_currency": "currency_unknown",
    "future_date": "future_date",
    "early_date": "date_too_early",
    "missing_account": "missing_account",
}
"""Kinds of damaged rows and the quarantine rule that must hold each of them back."""


def damaged_record(kind: str, records: Sequence[Record], source: random.Random) -> Record:
    """Copy a valuation, make it wrong in one way, and give it an account of its own."""
    valuations = [record for record in records if record.get("market_value") is not None]
    record = {**source.choice(valuations), "external_flow": None, "reported_return": None}
    record["account_id"] = f"9{source.randrange(10**4):04d}"
    for name in ("reported_period", "reported_basis", "flow_id", "flow_weight", "flow_timing"):
        record.pop(name, None)
    record.pop("flow_settlement_date", None)
    if kind == "unknown_currency":
        record["currency"] = "QQQ"
    elif kind == "future_date":
        record["as_of_date"] = record["as_of_date"] + FAR_FUTURE  # type: ignore[operator]
    elif kind == "early_date":
        record["as_of_date"] = TOO_EARLY
    elif kind == "missing_account":
        record["account_id"] = ""
    record["market_value"] = Decimal("1000.00")
    return record


@dataclass(frozen=True)
class FileDamage:
    """One way to make a file unreadable: what it is called, the rule, and what it does."""

    name: str
    rule: str
    apply: Callable[[bytes], bytes]
    formats: tuple[str, ...] = ("delimited", "fixed_width", "json_lines")
    compressions: tuple[str, ...] = ("none", "gzip")
    prefix: str = ""
    vendors: tuple[str, ...] = ()

    def applies_to(self, mapping: VendorMapping) -> bool:
        """Tell whether files of this vendor can be damaged in this way."""
        layout = mapping.format
        if self.vendors and mapping.vendor not in self.vendors:
            return False
        return layout.kind in self.formats and layout.compression in self.compressions


def _without_last_line(content: bytes) -> bytes:
    return b"\n".join(content.rstrip(b"\n").split(b"\n")[:-1]) + b"\n"


def _without_a_record(content: bytes) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join([*lines[:1], *lines[2:]])


def _as_other_content(content: bytes) -> bytes:
    """Add a blank line, so that the file is not taken for a repetition."""
    is_gzip = content.startswith(b"\x1f\x8b")
    return content + (gzip.compress(b"\n", mtime=0) if is_gzip else b"\n")


def _double_first_column(content: bytes) -> bytes:
    header, _, rest = content.partition(b"\r\n")
    delimiter = b";" if b";" in header else b","
    return header + delimiter + header.split(delimiter)[0] + b"\r\n" + rest


FILE_FAULTS = (
    FileDamage("empty_file", "empty_file", lambda _: b"", vendors=("standard",)),
    FileDamage(
        "header_only",
        "header_only",
        lambda content: content.split(b"\r\n")[0] + b"\r\n",
        formats=("delimited",),
    ),
    FileDamage("duplicate_header", "duplicate_header", _double_first_column, ("delimited",)),
    FileDamage("missing_trailer", "missing_trailer", _without_last_line, ("fixed_width",)),
    FileDamage("trailer_mismatch", "trailer_mismatch", _without_a_record, ("fixed_width",)),
    FileDamage(
        "truncated_gzip",
        "truncated_gzip",
        lambda content: content[: len(content) // 2],
        compressions=("gzip",),
    ),
    FileDamage("not_gzip", "not_gzip", gzip.decompress, compressions=("gzip",)),
    FileDamage(
        "unknown_vendor",
        "unknown_vendor",
        _as_other_content,
        prefix="unheard_of_",
    ),
)
