"""Memory is bounded by the setting, not by the input: hop by hop, in a process of its own.

`benchmarks.memory` measures the same with a file ten times the limit.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from benchmarks.bulk_delivery import write_delivery
from benchmarks.memory import FIRST_DAY, HOPS, MEGABYTE, growth_by_hop, measure
from benchmarks.sandbox import Finished
from pipeline_platform.settings import SMALLEST_MEMORY_BYTES, Settings

LIMIT = f"{SMALLEST_MEMORY_BYTES // MEGABYTE}MB"
BUSINESS_DAYS = 22
ACCOUNTS = 8_000
"""Rows that take 700 MB where all are worked on at once (4,000 bytes each)."""
REJECTED_LINES = 80_000
BYTES_PER_KEPT_LINE = 1_000
"""What a rejected line takes as a Python object, at least."""


@pytest.fixture
def taken(tmp_path: Path, new_database: Callable[[], str]) -> Callable[..., Finished]:
    """Take a file through hops, on an empty platform with the smallest limit."""

    def take(path: Path, *hops: str) -> Finished:
        settings = Settings(
            home=tmp_path / f"home-{path.stem}",
            environment="test",
            memory_limit=LIMIT,
            database_url=SecretStr(new_database()),
        )
        finished = measure(settings, path, hops)
        assert finished.answer["failure"] is None
        return finished

    return take


def delivery(folder: Path, accounts: int) -> Path:
    path = folder / f"standard_{accounts}.csv"
    write_delivery(path, accounts=accounts, first=FIRST_DAY, days=BUSINESS_DAYS, is_by_account=True)
    return path


def undated(folder: Path, lines: int) -> Path:
    """Write a file of lines without a day, but for one."""
    path = folder / f"standard_undated_{lines}.csv"
    line = "ACCOUNT-{:07d},{},1000000.00,,,,,USD\n"
    with path.open("w", encoding="utf-8") as file:
        file.write(
            "account_id,as_of_date,market_value,external_flow,flow_timing,"
            "reported_return,reported_period,currency\n"
        )
        file.write(line.format(0, FIRST_DAY))
        file.writelines(line.format(number, "some day") for number in range(1, lines + 1))
    return path


def test_no_hop_grows_by_more_than_the_limit(
    tmp_path: Path, taken: Callable[..., Finished]
) -> None:
    hops = [hop for hop in HOPS if hop not in {"restatements", "marts (dbt)"}]
    baseline = taken(delivery(tmp_path, 2), *hops)
    full = taken(delivery(tmp_path, ACCOUNTS), *hops)
    assert full.answer["rows"]["performance_data"] == ACCOUNTS * BUSINESS_DAYS
    grown = growth_by_hop(baseline, full)
    assert {hop: size for hop, size in grown.items() if size > SMALLEST_MEMORY_BYTES} == {}


def test_rejected_lines_are_not_held_in_memory(
    tmp_path: Path, taken: Callable[..., Finished]
) -> None:
    hop = "landing to bronze"
    few = taken(undated(tmp_path, REJECTED_LINES // 10), hop)
    many = taken(undated(tmp_path, REJECTED_LINES), hop)
    more = REJECTED_LINES - REJECTED_LINES // 10
    assert growth_by_hop(few, many)[hop] < more * BYTES_PER_KEPT_LINE / 2
