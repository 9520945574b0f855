"""Account days written as each vendor writes them: the inverse of the vendors' mappings.

Layouts, codes, units, signs and formats come from the mapping itself, so a changed mapping changes
the sample files with it.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

from pipeline_platform.advisory_performance.samples.accounts import AccountDay
from pipeline_platform.advisory_performance.vendor_formats import FixedWidth
from pipeline_platform.advisory_performance.vendor_mapping import FLOW_INDICATOR, VendorMapping

Record = dict[str, object]
"""One delivered record by canonical field, `record_type` among them; values are typed."""


def records_of(day: AccountDay, mapping: VendorMapping) -> list[Record]:
    """Split an account day into the records that this vendor delivers."""
    base: Record = {
        "account_id": day.account_id,
        "as_of_date": day.day,
        "currency": day.style.currency,
        "account_class": day.account_class,
    }
    valuation = {**base, "market_value": day.value, "fees": day.fees}
    flows: list[Record] = []
    if day.flow:
        flows.append(
            {
                "external_flow": day.flow.amount,
                "flow_timing": day.flow.timing,
                "flow_weight": day.flow.weight,
                "flow_id": day.flow.flow_id,
                "flow_settlement_date": day.flow.settlement_date,
            }
        )
    figures: list[Record] = [
        {"reported_return": value, "reported_period": period, "reported_basis": day.style.basis}
        for period, value in day.reported.items()
    ]
    if mapping.record_type == "combined" and not isinstance(mapping.format, FixedWidth):
        first: Record = {**valuation, "record_type": "combined"}
        for part in (*flows[:1], *figures[:1]):
            first.update(part)
        rest = [{**base, **part, "record_type": "combined"} for part in (*flows[1:], *figures[1:])]
        return [first, *rest]
    return [
        {**valuation, "record_type": "valuation"},
        *({**base, **flow, "record_type": "flow"} for flow in flows),
        *({**base, **figure, "record_type": "return"} for figure in figures),
    ]


def render(records: Sequence[Record], mapping: VendorMapping, *, decimals: int, day: date) -> bytes:
    """Write records as one of the vendor's files; `decimals` are those of returns as fractions."""
    texts = [_texts(record, mapping, decimals) for record in records]
    layout = mapping.format
    if layout.kind == "delimited":
        return _delimited(texts, mapping)
    if layout.kind == "json_lines":
        return _json_lines(texts, records, mapping)
    return _fixed_width(texts, records, layout, day)


def _texts(record: Record, mapping: VendorMapping, decimals: int) -> dict[str, str]:
    """Return a record's delivered columns as text, in the vendor's formats and codes."""
    texts: dict[str, str] = {}
    for column, fields in mapping.columns.items():
        for name in fields:
            if name == FLOW_INDICATOR:
                amount = record.get("external_flow")
                texts[column] = _indicator(mapping, amount)
            else:
                texts[column] = _text(name, record.get(name), mapping, decimals)
    return texts


def _indicator(mapping: VendorMapping, amount: object) -> str:
    indicator = mapping.flow_sign.indicator
    if amount is None or indicator is None:
        return ""
    return (indicator.inflow if Decimal(str(amount)) > 0 else indicator.outflow)[0]


def _text(  # noqa: PLR0911 - one return per kind of value
    name: str, value: object, mapping: VendorMapping, decimals: int
) -> str:
    if value is None:
        return ""
    if isinstance(value, date):
        return value.strftime(mapping.date_formats[0])
    codes = mapping.codes.get(name)  # type: ignore[call-overload]
    if codes:
        return str(next(theirs for theirs, ours in codes.items() if ours == value))
    if name == "reported_return":
        scale = {"decimal": 0, "percent": 2, "basis_points": 4}[mapping.return_unit]
        shown = Decimal(repr(value)).scaleb(scale)
        return _number(shown.quantize(Decimal(1).scaleb(scale - decimals)), mapping)
    if name == "external_flow":
        amount = Decimal(str(value))
        if mapping.flow_sign.indicator is not None:
            return _number(abs(amount), mapping)
        return _number(amount if mapping.flow_sign.positive_is == "inflow" else -amount, mapping)
    return _number(value, mapping) if isinstance(value, Decimal) else str(value)


def _number(value: Decimal, mapping: VendorMapping) -> str:
    numbers = mapping.numbers
    text = f"{value:,f}" if numbers.thousands_separator else f"{value:f}"
    swapped = {",": numbers.thousands_separator or "", ".": numbers.decimal_separator}
    return "".join(swapped.get(character, character) for character in text)


def _delimited(texts: Iterable[dict[str, str]], mapping: VendorMapping) -> bytes:
    layout = mapping.format
    assert layout.kind == "delimited"  # noqa: S101 - told apart by the caller
    rows = list(texts)
    columns = [
        column
        for column in mapping.columns
        if column not in mapping.optional_columns or any(row.get(column) for row in rows)
    ]
    written = io.StringIO()
    writer = csv.writer(
        written, delimiter=layout.delimiter, quotechar=layout.quote, lineterminator="\r\n"
    )
    writer.writerow(columns)
    writer.writerows([row.get(column, "") for column in columns] for row in rows)
    return written.getvalue().encode(layout.encoding)


def _json_lines(
    texts: Iterable[dict[str, str]], records: Sequence[Record], mapping: VendorMapping
) -> bytes:
    kinds = mapping.record_type
    lines = []
    for row, record in zip(texts, records, strict=True):
        document: dict[str, object] = {}
        if not isinstance(kinds, str):
            theirs = {ours: value for value, ours in kinds.values.items()}
            document[kinds.column] = theirs[record["record_type"]]  # type: ignore[index]
        for column, text in row.items():
            if not text:
                continue
            *parents, leaf = column.split(".")
            place = document
            for parent in parents:
                place = place.setdefault(parent, {})  # type: ignore[assignment]
            place[leaf] = text
        lines.append(json.dumps(document, ensure_ascii=False))
    content = "".join(f"{line}\n" for line in lines).encode()
    return gzip.compress(content, mtime=0) if mapping.format.compression == "gzip" else content


def _fixed_width(
    texts: Iterable[dict[str, str]], records: Sequence[Record], layout: FixedWidth, day: date
) -> bytes:
    by_type = {record.record_type: record for record in layout.records}
    lines = [f"{layout.header_code} MERIDIAN {day:%Y%m%d}".ljust(layout.width)]
    total = Decimal(0)
    for row, record in zip(texts, records, strict=True):
        shape = by_type[record["record_type"]]  # type: ignore[index]
        line = [" "] * layout.width
        _put(line, layout.record_code.start, shape.code)
        for column, position in shape.columns.items():
            text = row.get(column, "")
            _put(line, position.start, text.rjust(position.width) if _is_number(text) else text)
            if column in layout.trailer.control_columns and text:
                total += Decimal(text)
        lines.append("".join(line))
    trailer = [" "] * layout.width
    _put(trailer, layout.record_code.start, layout.trailer.code)
    count = layout.trailer.row_count
    _put(trailer, count.start, str(len(lines) - 1).rjust(count.width, "0"))
    if layout.trailer.control_total:
        _put(trailer, layout.trailer.control_total.start, f"{total:f}")
    lines.append("".join(trailer))
    return "".join(f"{line}\n" for line in lines).encode(layout.encoding)


def _is_number(text: str) -> bool:
    return bool(text) and text.lstrip("-").replace(".", "", 1).isdigit() and "." in text


def _put(line: list[str], start: int, text: str) -> None:
    line[start - 1 : start - 1 + len(text)] = text
