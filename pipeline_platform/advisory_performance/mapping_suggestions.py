"""A mapping, or an addition to one, written for a person to check (SA-54)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import yaml

from pipeline_platform.advisory_performance.column_guesses import (
    ColumnGuess,
    date_format_of,
    guess_columns,
    numbers_of,
)
from pipeline_platform.advisory_performance.delivery_chunks import quoted
from pipeline_platform.advisory_performance.file_samples import FileSample
from pipeline_platform.advisory_performance.vendor_mapping import CANONICAL_CODES, VendorMapping

_DEFAULTS = {
    "flow_timing": "end_of_day",
    "reported_period": "daily",
    "reported_basis": "net",
    "account_class": "standard",
}


def suggest_addition(
    mapping: VendorMapping,
    unknown: Mapping[str, Sequence[str]],
    present: Sequence[str],
) -> str:
    """Return YAML to merge into a mapping for columns that it does not know.

    `unknown`: column -> sample values; `present`: all columns of the file. A field whose mapped
    column is not in the file is free: its column was probably renamed.
    """
    taken = {field for column in present for field in mapping.columns.get(column, ())}
    guesses = guess_columns(unknown, taken)
    named = {guess.column: guess.field for guess in guesses if guess.field}
    ignored = [guess.column for guess in guesses if not guess.field]
    lines = [f"# {mapping.vendor}.yaml: check and merge these lines."]
    lines += [_evidence(guess) for guess in guesses]
    for column, field in named.items():
        old = mapping.column_of.get(field)
        if old is not None:
            lines.append(f"# {quoted(column)} seems to be the new name of {quoted(old)}.")
    values = {"columns": named, "ignored_columns": ignored}
    return "\n".join([*lines, _dump({key: value for key, value in values.items() if value})])


def suggest_mapping(file_name: str, sample: FileSample) -> str | None:
    """Return a whole mapping for a file that no mapping claims; None if its layout is unknown."""
    if sample.kind == "unknown" or not sample.columns:
        return None
    guesses = guess_columns(sample.columns)
    by_field = {guess.field: guess for guess in guesses if guess.field}
    name = PurePosixPath(file_name).name
    vendor = re.sub(r"[^a-z]+", "_", name.split(".")[0].lower()).strip("_") or "new_vendor"
    layout: dict[str, object] = {
        "kind": sample.kind,
        "encoding": sample.encoding,
        "compression": sample.compression,
    }
    if sample.delimiter:
        layout["delimiter"] = sample.delimiter
    values: dict[str, object] = {
        "vendor": vendor[:40],
        "display_name": vendor.replace("_", " ").title(),
        "description": "Suggested from the first lines of a file; check every line.",
        "file_name": {"pattern": _name_pattern(name), "example": name},
        "format": layout,
        "columns": {guess.column: guess.field for guess in guesses if guess.field},
        "ignored_columns": [guess.column for guess in guesses if not guess.field],
        **_value_formats(sample, guesses),
        "defaults": {key: value for key, value in _DEFAULTS.items() if key not in by_field},
    }
    lines = [f"# {vendor}.yaml: a suggestion; check every line before use."]
    lines += [_evidence(guess) for guess in guesses]
    lines += [
        f"# Nothing looks like {field}; a mapping needs it."
        for field in ("account_id", "as_of_date")
        if field not in by_field
    ]
    if "currency" not in by_field:
        lines.append("# No column looks like a currency: add it to defaults.")
    lines += [
        f"# codes.{guess.field}: translate {', '.join(map(quoted, guess.distinct))}."
        for guess in by_field.values()
        if CANONICAL_CODES.get(str(guess.field)) and guess.distinct
    ]
    return "\n".join([*lines, _dump({key: value for key, value in values.items() if value})])


def _value_formats(sample: FileSample, guesses: Sequence[ColumnGuess]) -> dict[str, object]:
    """Return date formats, number format and unit of returns as the values show them."""
    values = {
        guess.column: [value.strip() for value in sample.columns[guess.column] if value.strip()]
        for guess in guesses
        if guess.field
    }
    kinds = {guess.column: guess.kind for guess in guesses}
    formats = {date_format_of(found) for column, found in values.items() if kinds[column] == "date"}
    written = [
        text
        for column, found in values.items()
        if kinds[column] in {"decimal", "percent"}
        for text in found
    ]
    numbers = numbers_of(written)
    result: dict[str, object] = {"date_formats": sorted(one for one in formats if one)}
    if numbers:
        result["numbers"] = numbers.model_dump(exclude_none=True)
    for guess in guesses:
        if guess.field == "reported_return":
            is_points = re.search(r"\bbps?\b|basis", guess.column, re.IGNORECASE)
            unit = "percent" if guess.kind == "percent" else "decimal"
            result["return_unit"] = "basis_points" if is_points else unit
    return result


def _name_pattern(name: str) -> str:
    parts = re.split(r"(\d+)", name)
    return "".join(r"\d+" if part.isdigit() else re.escape(part) for part in parts)


def _evidence(guess: ColumnGuess) -> str:
    target = f"{guess.field} (name {guess.similarity:.0%} alike)" if guess.field else "ignored"
    return f"# {quoted(guess.column)}: {guess.kind}, such as {quoted(guess.example)} -> {target}"


def _dump(values: dict[str, object]) -> str:
    """Return readable YAML; all escaped where a control character would not survive."""
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=98)
    if yaml.safe_load(text) == values:
        return text
    return yaml.safe_dump(values, sort_keys=False, width=98)
