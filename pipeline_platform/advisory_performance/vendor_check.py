"""`vendor check FILE`: which mapping applies, what would be read, what fails, what to add (SA-54).

Nothing is stored: the file is read as the pipeline would read it, and the result is a report.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc

from pipeline_platform.advisory_performance.deliveries import Delivery, open_delivery
from pipeline_platform.advisory_performance.delivery_json import flat_record
from pipeline_platform.advisory_performance.file_samples import (
    SAMPLE_LINES,
    FileSample,
    delimited_columns,
    take_sample,
)
from pipeline_platform.advisory_performance.mapping_suggestions import (
    suggest_addition,
    suggest_mapping,
)
from pipeline_platform.advisory_performance.value_faults import value_faults
from pipeline_platform.advisory_performance.vendor_formats import Delimited, FixedWidth, JsonLines
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.advisory_performance.vendors import mapping_for
from pipeline_platform.ingestion.delivery_errors import DeliveryError, UnknownVendorError

EXAMPLES = 3
MINIMUM_HEADER_MATCH = 0.5
_NO_FILE = "0" * 64


@dataclass(frozen=True)
class RuleCount:
    """How often a rule was broken, with the first sentences that say where."""

    rule: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class FileReport:
    """What would become of a file; `vendor check` prints it.

    `failure_rule` and `failure` (a sentence) are set when the file would be quarantined whole.
    Counts then tell what would be read if the named columns were mapped or ignored, as far as
    that can be told. `rejected`: records that stay out of bronze; `refused_values`: values that
    get their record quarantined on the way to silver. `suggestion` is YAML.
    """

    file_name: str
    vendor: str | None
    matched_by: Literal["file_name", "header", "nothing"]
    mapping_version: str | None = None
    failure_rule: str | None = None
    failure: str | None = None
    arrived: int = 0
    published: int = 0
    quarantined: int = 0
    record_types: tuple[tuple[str, int], ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    account_count: int = 0
    rejected: tuple[RuleCount, ...] = ()
    refused_values: tuple[RuleCount, ...] = ()
    missing_columns: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    suggestion: str | None = None

    @property
    def is_good(self) -> bool:
        """Tell whether every record would reach silver, as far as one record by itself can say."""
        return self.failure is None and not self.rejected and not self.refused_values


class _Faults:
    """Counts broken rules and keeps the first examples of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, rule: str, sentence: str, count: int = 1) -> None:
        self._counts[rule] += count
        examples = self._examples.setdefault(rule, [])
        if len(examples) < EXAMPLES:
            examples.append(sentence)

    def result(self) -> tuple[RuleCount, ...]:
        return tuple(
            RuleCount(rule, count, tuple(self._examples[rule]))
            for rule, count in self._counts.most_common()
        )


def check_file(path: Path, mappings: Mapping[str, VendorMapping], today: date) -> FileReport:
    """Read a file without storing anything and report; `today` (UTC) bounds as-of dates.

    The mapping is the one whose file-name pattern matches, else the one whose columns match best;
    never raises for what the file holds.
    """
    sample = take_sample(path)
    try:
        mapping: VendorMapping | None = mapping_for(path.name, mappings)
        failure: DeliveryError | None = None
        matched_by: Literal["file_name", "header", "nothing"] = "file_name"
    except UnknownVendorError as error:
        failure = error
        mapping = _by_header(sample, mappings)
        matched_by = "header" if mapping else "nothing"
    if mapping is None:
        return FileReport(
            file_name=path.name,
            vendor=None,
            matched_by=matched_by,
            failure_rule=failure.rule if failure else None,
            failure=str(failure) if failure else None,
            suggestion=suggest_mapping(path.name, sample),
        )
    return _report(path, sample, mapping, today, matched_by, failure)


def _report(
    path: Path,
    sample: FileSample,
    mapping: VendorMapping,
    today: date,
    matched_by: Literal["file_name", "header", "nothing"],
    name_failure: DeliveryError | None,
) -> FileReport:
    columns = _columns(sample, mapping)
    unknown = {name: found for name, found in columns.items() if name not in mapping.known_columns}
    missing: tuple[str, ...] = ()
    if isinstance(mapping.format, Delimited) and columns:
        missing = tuple(sorted(mapping.needed_columns - set(columns)))
    failure = name_failure
    read_with = mapping
    if unknown or missing:
        failure = _first_failure(path, mapping, today) or failure
        read_with = mapping.model_copy(
            update={
                "ignored_columns": (*mapping.ignored_columns, *unknown),
                "optional_columns": (*mapping.optional_columns, *missing),
            }
        )
    rejected, refused = _Faults(), _Faults()
    record_types: Counter[str] = Counter()
    accounts: set[str] = set()
    days: set[str] = set()
    with _delivery(path, read_with, today) as delivery:
        try:
            for batch in delivery:
                record_types.update(batch["record_type"].to_pylist())
                accounts.update(pc.unique(batch["account_id"]).to_pylist())
                days.update(pc.unique(batch["as_of_date"]).to_pylist())
                for fault in value_faults(batch, read_with):
                    sentence = f"Line {fault.line_numbers[0]}: {fault.reason}"
                    refused.add(fault.rule, sentence, len(fault.line_numbers))
        except DeliveryError as error:
            failure = failure or error
        for line in delivery.rejected:
            rejected.add(line.rule, line.reason)
            if line.rule == "unknown_column":
                _add_unknown_keys(unknown, line.record, mapping)
        counts = delivery.counts.values()
    return FileReport(
        file_name=path.name,
        vendor=mapping.vendor,
        matched_by=matched_by,
        mapping_version=mapping.version,
        failure_rule=failure.rule if failure else None,
        failure=str(failure) if failure else None,
        arrived=sum(count.arrived for count in counts),
        published=sum(count.published for count in counts),
        quarantined=sum(count.quarantined for count in counts),
        record_types=tuple(sorted(record_types.items())),
        first_day=date.fromisoformat(min(days)) if days else None,
        last_day=date.fromisoformat(max(days)) if days else None,
        account_count=len(accounts),
        rejected=rejected.result(),
        refused_values=refused.result(),
        missing_columns=missing,
        unknown_columns=tuple(unknown),
        suggestion=suggest_addition(mapping, unknown, list(sample.columns)) if unknown else None,
    )


def _add_unknown_keys(unknown: dict[str, list[str]], record: str, mapping: VendorMapping) -> None:
    """Collect values of the keys for which a JSON line was rejected."""
    for name, value in flat_record(record).items():
        if name in mapping.known_columns or value is None:
            continue
        values = unknown.setdefault(name, [])
        if len(values) < SAMPLE_LINES:
            values.append(value)


def _delivery(path: Path, mapping: VendorMapping, today: date) -> Delivery:
    received_at = datetime.combine(today, time(), UTC)
    return open_delivery(
        path, path.name, mapping, today=today, received_at=received_at, file_sha256=_NO_FILE
    )


def _first_failure(path: Path, mapping: VendorMapping, today: date) -> DeliveryError | None:
    """Return how reading by the mapping as it stands fails, at the latest after one batch."""
    with _delivery(path, mapping, today) as delivery:
        try:
            next(iter(delivery), None)
        except DeliveryError as error:
            return error
    return None


def _columns(sample: FileSample, mapping: VendorMapping) -> dict[str, list[str]]:
    """Return the sample's columns as a delimited mapping splits them; {} for other layouts."""
    layout = mapping.format
    if not isinstance(layout, Delimited) or not sample.lines:
        return {}
    if sample.delimiter == layout.delimiter:
        return sample.columns
    return delimited_columns(sample.lines, layout.delimiter)


def _by_header(sample: FileSample, mappings: Mapping[str, VendorMapping]) -> VendorMapping | None:
    """Return the mapping whose columns are most alike those of the file, if any is."""
    scored = [(_header_match(sample, mapping), name) for name, mapping in mappings.items()]
    score, vendor = max(scored, default=(0.0, ""))
    return mappings[vendor] if score >= MINIMUM_HEADER_MATCH else None


def _header_match(sample: FileSample, mapping: VendorMapping) -> float:
    """Return which share of the columns, of file and mapping together, both have (0 to 1)."""
    layout = mapping.format
    if isinstance(layout, FixedWidth):
        start = layout.record_code.start - 1
        end = start + layout.record_code.width
        codes = [line[start:end] for line in sample.lines[:2]]
        known = {record.code for record in layout.records}
        return float(codes[:1] == [layout.header_code] and set(codes[1:]) <= known)
    if isinstance(layout, JsonLines):
        found = set(sample.columns) if sample.kind == "json_lines" else set()
        needed = {mapping.column_of["account_id"], mapping.column_of["as_of_date"]}
    else:
        found = set(_columns(sample, mapping))
        needed = set(mapping.needed_columns)
    has_key = {mapping.column_of["account_id"], mapping.column_of["as_of_date"]} <= found
    return len(found & mapping.known_columns) / len(found | needed) if has_key else 0.0
