"""Values that the next hop will refuse, told before a file is loaded (SA-54).

Rule names are those that records get in quarantine on their way to silver; each field is judged
by itself here, what depends on several fields only there.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.advisory_performance.currencies import CURRENCIES
from pipeline_platform.advisory_performance.delivery_chunks import quoted
from pipeline_platform.advisory_performance.vendor_mapping import CANONICAL_CODES, VendorMapping
from pipeline_platform.advisory_performance.vendors import parse_day

NUMBER_FIELDS = (
    "market_value",
    "external_flow",
    "flow_weight",
    "valuation_before_flow",
    "fees",
    "reported_return",
    "fx_rate",
)
_JSON_NUMBER = r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,17})?[eE][+-]?[0-9]{1,2}"


@dataclass(frozen=True)
class ValueFault:
    """One bad value and the lines of a batch where it stands."""

    rule: str
    reason: str
    line_numbers: tuple[int, ...]


def value_faults(batch: pa.RecordBatch, mapping: VendorMapping) -> Iterator[ValueFault]:
    """Yield the values of a bronze batch that are no number, day or code as the vendor writes."""
    for field in NUMBER_FIELDS:
        statement = "is no number as the vendor writes them."
        yield from _faults(
            batch, field, "invalid", statement, partial(_is_number, mapping), mapping
        )
    for field in CANONICAL_CODES:
        statement = "is no code that the mapping knows."
        is_good = partial(_is_code, mapping, field)
        yield from _faults(batch, field, "unknown", statement, is_good, mapping)
    statement = "is no day in the vendor's date format."
    is_good = partial(_is_day, mapping)
    yield from _faults(batch, "flow_settlement_date", "invalid", statement, is_good, mapping)


def _faults(
    batch: pa.RecordBatch,
    field: str,
    ending: str,
    statement: str,
    is_good: Callable[[str], bool],
    mapping: VendorMapping,
) -> Iterator[ValueFault]:
    encoded = batch[field].dictionary_encode()
    for index, value in enumerate(encoded.dictionary.to_pylist()):
        text = value.strip()
        if text in {"", *mapping.null_tokens} or is_good(text):
            continue
        rows = pc.equal(encoded.indices, index).fill_null(fill_value=False)
        lines = tuple(batch["line_number"].filter(rows).to_pylist())
        reason = f"{field}: {quoted(value)} {statement}"
        yield ValueFault(f"{field}_{ending}", reason, lines)


def _is_number(mapping: VendorMapping, text: str) -> bool:
    is_json = mapping.format.kind == "json_lines"
    return mapping.numbers.plain(text) is not None or (
        is_json and re.fullmatch(_JSON_NUMBER, text) is not None
    )


def _is_code(mapping: VendorMapping, field: str, text: str) -> bool:
    codes = {name: known for name, known in mapping.codes.items() if name == field}
    if codes:
        return text in codes[field]  # type: ignore[index]
    if field == "currency":
        return text in CURRENCIES
    canonical = CANONICAL_CODES[field]
    return canonical is None or text in canonical


def _is_day(mapping: VendorMapping, text: str) -> bool:
    return parse_day(text, mapping.date_formats) is not None
