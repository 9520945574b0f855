"""Files as they would arrive: history by month, the last days one by one, faults on purpose."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import groupby

from pipeline_platform.advisory_performance.samples.accounts import (
    STYLES,
    AccountDay,
    VendorStyle,
    account_days,
)
from pipeline_platform.advisory_performance.samples.damage import (
    FILE_FAULTS,
    ROW_FAULTS,
    FileDamage,
    damaged_record,
)
from pipeline_platform.advisory_performance.samples.faults import InjectedFault, damage_figure
from pipeline_platform.advisory_performance.samples.market import market_until
from pipeline_platform.advisory_performance.samples.vendor_files import (
    Record,
    records_of,
    render,
)
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.progress import tracked

DAILY_FILES = 5
"""The last business days come as a file each, as they do in production."""
CORRECTED_SHARE = 0.02
RARE_DAY_FACTOR = 15
"""Days with a flow or fees are few but can go wrong in more ways: they are damaged more often."""


@dataclass(frozen=True)
class SampleFile:
    """One file to put into `incoming/`."""

    name: str
    content: bytes
    vendor: str
    record_count: int


@dataclass
class SampleArrivals:
    """Files in the order of their arrival, corrections that come later, and what is wrong."""

    files: list[SampleFile] = field(default_factory=list)
    corrections: list[SampleFile] = field(default_factory=list)
    faults: list[InjectedFault] = field(default_factory=list)
    account_day_count: int = 0


@dataclass(frozen=True)
class SampleRequest:
    """What to generate: accounts per vendor, business days up to `end`, and how much is wrong.

    `fault_rate` is the share of account-days whose figure, and of records whose row, is damaged;
    `has_file_faults` adds one unreadable file of each kind.
    """

    accounts: int
    days: int
    end: date
    fault_rate: float = 0.0
    has_file_faults: bool = False
    has_corrections: bool = False
    seed: int = 2026


def generate_arrivals(request: SampleRequest, mappings: dict[str, VendorMapping]) -> SampleArrivals:
    """Build every file and the ledger of what was injected; equal requests give equal bytes."""
    made = SampleArrivals()
    market = market_until(request.end, request.days)
    last_days = set(market.days[-DAILY_FILES:])
    for style in tracked(STYLES, "vendors"):
        source = random.Random(f"{request.seed}/{style.vendor}/faults")  # noqa: S311
        days = sorted(
            (
                day
                for number in range(request.accounts)
                for day in account_days(style, number, market, request.seed)
            ),
            key=lambda day: (day.day, day.account_id),
        )
        made.account_day_count += len(days)
        mapping = mappings[style.vendor]
        files = groupby(days, key=lambda day: _file_day(day.day, last_days))
        batches = [(day, list(batch)) for day, batch in files]
        for day, batch in batches:
            name = file_name(style, day)
            made.files.append(_file(name, batch, style, mapping, request, source, made.faults))
        if request.has_corrections and batches:
            made.corrections.append(_corrections(batches[-1], style, mapping, source))
        if request.has_file_faults and batches:
            for damage in FILE_FAULTS:
                _damage_file(damage, batches[-1], style, mapping, made)
    return made


def file_name(style: VendorStyle, day: date, number: int | None = None) -> str:
    """Name a vendor's file of a day, as its mapping expects it."""
    suffix = {
        "standard": f"_{number}" if number else "",
        "northgate": f"_{number}" if number else "",
        "meridian": f".{number}" if number else "",
        "harbor": f"-{number}" if number else "",
    }[style.vendor]
    return {
        "standard": f"standard_{day}{suffix}.csv",
        "northgate": f"northgate_{day:%Y%m%d}{suffix}.csv",
        "meridian": f"MERIDIAN.PERF.D{day:%Y%m%d}{suffix}.txt",
        "harbor": f"harbor-performance-{day}{suffix}.jsonl.gz",
    }[style.vendor]


def _file_day(day: date, last_days: set[date]) -> date:
    """Return the day that names the file of this day: the day itself, or the month's first."""
    return day if day in last_days else day.replace(day=1)


def _file(
    name: str,
    batch: Sequence[AccountDay],
    style: VendorStyle,
    mapping: VendorMapping,
    request: SampleRequest,
    source: random.Random,
    faults: list[InjectedFault],
) -> SampleFile:
    records: list[Record] = []
    for day in batch:
        if source.random() < request.fault_rate * (RARE_DAY_FACTOR if day.flow or day.fees else 1):
            fault = damage_figure(day, source)
            if fault is not None:
                faults.append(fault)
        records.extend(records_of(day, mapping))
    if request.fault_rate:
        for fault_name in ROW_FAULTS:
            if source.random() < min(1.0, request.fault_rate * len(records)):
                records.append(damaged_record(fault_name, records, source))
                faults.append(
                    InjectedFault(
                        "row", fault_name, ROW_FAULTS[fault_name], style.vendor, file_name=name
                    )
                )
    content = render(records, mapping, decimals=style.decimals, day=batch[0].day)
    return SampleFile(name, content, style.vendor, len(records))


def _corrections(
    last: tuple[date, Sequence[AccountDay]],
    style: VendorStyle,
    mapping: VendorMapping,
    source: random.Random,
) -> SampleFile:
    """Deliver a few account days of the last file again, with another value and return."""
    day, batch = last
    count = max(1, round(len(batch) * CORRECTED_SHARE))
    open_days = [one for one in batch if one.value > 0 and "daily" in one.reported]
    corrected = source.sample(open_days, min(count, len(open_days)))
    records: list[Record] = []
    for one in corrected:
        one.value = (one.value * Decimal("1.004")).quantize(Decimal("0.01"))
        one.reported = {"daily": one.daily_return()}
        records.extend(records_of(one, mapping))
    content = render(records, mapping, decimals=style.decimals, day=day)
    return SampleFile(file_name(style, day, 2), content, style.vendor, len(records))


def _damage_file(
    damage: FileDamage,
    last: tuple[date, Sequence[AccountDay]],
    style: VendorStyle,
    mapping: VendorMapping,
    made: SampleArrivals,
) -> None:
    if not damage.applies_to(mapping):
        return
    day, batch = last
    number = 10 + FILE_FAULTS.index(damage)
    records = [record for one in batch for record in records_of(one, mapping)]
    clean = render(records, mapping, decimals=style.decimals, day=day)
    name = damage.prefix + file_name(style, day, number)
    made.files.append(SampleFile(name, damage.apply(clean), style.vendor, len(records)))
    made.faults.append(
        InjectedFault("file", damage.name, damage.rule, style.vendor, file_name=name)
    )
