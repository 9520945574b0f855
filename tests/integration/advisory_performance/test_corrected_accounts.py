"""A correction recomputes the accounts that it touches, and what links from them: nothing else."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_platform.advisory_performance import measured_accounts
from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.measurement import MeasuredMonths, measure_range
from pipeline_platform.advisory_performance.refinement import publish_months, stage_months
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.samples.market import business_days
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    PIPELINE,
    TIME_WEIGHTED_RETURNS,
)
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.services import Services
from tests.assets.content import differences, lake_content
from tests.assets.platform_runs import settings_at

FIRST, LAST = date(2023, 8, 1), date(2024, 10, 1)
MONTHS = month_range(FIRST, LAST)
DAYS = [*business_days(date(2023, 8, 31), 5), *business_days(date(2024, 10, 31), 64)]
"""The end of a month, and three months of which the first is its anniversary."""
ACCOUNTS = ("A-1", "A-2", "A-3", "A-4")
HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)
NOW = datetime(2024, 11, 1, tzinfo=UTC)


def _lines(account: str, days: Sequence[date], seed: int) -> str:
    """Report a value for every day, and now and then a flow."""
    source = random.Random(f"{account} {seed}")
    value, lines = 1000.0, []
    for day in days:
        flow = source.choice([25.0, -10.0]) if source.random() < 0.1 else None
        value = value * (1 + source.gauss(0, 0.01)) + (flow or 0.0)
        timing = "start_of_day" if flow else ""
        lines.append(f"{account},{day},{value:.2f},{flow or ''},{timing},,,USD\n")
    return HEADER + "".join(lines)


@dataclass
class Platform:
    """A lake whose clock moves on with each delivery."""

    services: Services
    deliveries: int = 0

    def process(self, text: str | None, months: Sequence[date]) -> list[MeasuredMonths]:
        """Deliver a file, if any, and take months to returns."""
        self.deliveries += 1
        instant = NOW + timedelta(hours=self.deliveries)
        run = RunContext(self.services, f"run {self.deliveries}", clock=lambda: instant)
        if text is not None:
            name = f"standard_{self.deliveries}.csv"
            self.services.landing(PIPELINE).put(name, text.encode())
            list(ingest_arrivals(run))
        if text is not None and months:
            publish_months(run, stage_months(run, months))
        return list(measure_range(run, months))

    def new_versions(self) -> dict[str, date]:
        """Return the first day that has a version of the newest processing, by account."""
        since = NOW + timedelta(hours=self.deliveries)
        with self.services.connect() as engine:
            rows = self.services.lake.relation(engine, TIME_WEIGHTED_RETURNS)
            new = rows.filter(f"known_from = TIMESTAMPTZ '{since.isoformat()}'")
            return dict(new.aggregate("account_id, min(as_of_date)", "account_id").fetchall())

    def snapshots(self) -> list[int]:
        """Return the newest snapshots of what `measure_range` writes."""
        found = map(self.services.lake.last_publication, (TIME_WEIGHTED_RETURNS, ACCOUNT_STATES))
        return [one.snapshot_id for one in found if one]


@pytest.fixture
def platform(new_database, tmp_path: Path) -> Iterator[Platform]:
    with Services(settings_at(tmp_path, new_database())) as services:
        made = Platform(services)
        for number, account in enumerate(ACCOUNTS):
            text = _lines(account, DAYS, number)
            made.process(text, MONTHS if account == ACCOUNTS[-1] else [])
        yield made


def test_what_did_not_change_is_not_measured_and_not_published(platform: Platform) -> None:
    before = platform.snapshots()
    counts = [one.measured_accounts for one in platform.process(None, MONTHS)]
    assert (sum(counts), platform.snapshots()) == (0, before)


def test_a_corrected_value_recomputes_its_account_from_its_day_on(platform: Platform) -> None:
    day = date(2024, 9, 17)
    measured = platform.process(f"{HEADER}A-2,{day},1234.56,,,,,USD\n", MONTHS)
    assert sum(one.measured_accounts for one in measured) == 1
    assert platform.new_versions() == {"A-2": day}


def test_a_later_month_recomputes_the_account_that_links_from_the_change(
    platform: Platform,
) -> None:
    platform.process(f"{HEADER}A-2,2024-09-17,,50.00,end_of_day,,,USD\n", [date(2024, 9, 1)])
    measured = platform.process(None, [LAST])
    assert (measured[0].measured_accounts, [*platform.new_versions()]) == (1, ["A-2"])


def test_a_flow_that_came_late_recomputes_its_account(platform: Platform) -> None:
    day = date(2024, 9, 17)
    platform.process(f"{HEADER}A-3,{day},,50.00,end_of_day,,,USD\n", MONTHS)
    assert platform.new_versions() == {"A-3": day}


def test_a_changed_anniversary_recomputes_the_year_that_starts_there(platform: Platform) -> None:
    platform.process(f"{HEADER}A-1,2023-08-31,990.00,,,,,USD\n", [FIRST])
    measured = platform.process(None, [date(2024, 8, 1)])
    assert measured[0].measured_accounts == 1


def test_other_code_measures_every_account_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_accounts, "code_version", lambda: "another")
    measured = platform.process(None, MONTHS)
    assert sum(one.measured_accounts for one in measured) == len(ACCOUNTS)


def test_a_restored_table_is_measured_again(platform: Platform) -> None:
    lake = platform.services.lake
    first = platform.snapshots()[0]
    platform.process(f"{HEADER}A-2,2024-09-17,1234.56,,,,,USD\n", MONTHS)
    corrected = lake_content(platform.services, without_instants=True)
    with lake.iceberg(TIME_WEIGHTED_RETURNS).manage_snapshots() as manage:
        manage.rollback_to_snapshot(first)
    measured = platform.process(None, MONTHS)
    assert sum(one.measured_accounts for one in measured) == 1
    restored = lake_content(platform.services, without_instants=True)
    assert differences(corrected, restored) == {}


def test_corrections_one_by_one_give_what_all_at_once_give(
    platform: Platform, new_database, tmp_path_factory
) -> None:
    source = random.Random(2024)
    lines = []
    for _ in range(5):
        account, day = source.choice(ACCOUNTS), source.choice(DAYS)
        flow = source.choice(["", "", "40.00", "-5.00"])
        timing = "end_of_day" if flow else ""
        value = f"{source.uniform(500, 2000):.2f}" if not flow else ""
        lines.append(f"{account},{day},{value},{flow},{timing},,,USD\n")
    for line in lines:
        since = date.fromisoformat(line.split(",")[1]).replace(day=1)
        platform.process(HEADER + line, month_range(since, LAST))
    stepwise = _current(platform)
    with Services(settings_at(tmp_path_factory.mktemp("at_once"), new_database())) as services:
        other = Platform(services)
        texts = [_lines(account, DAYS, number) for number, account in enumerate(ACCOUNTS)]
        for text in [*texts, *(HEADER + line for line in lines[:-1])]:
            other.process(text, [])
        other.process(HEADER + lines[-1], MONTHS)
        assert _current(other) == stepwise


def _current(platform: Platform) -> list[tuple[object, ...]]:
    """Return the current returns without the instants of their versions."""
    with platform.services.connect() as engine:
        rows = platform.services.lake.relation(engine, TIME_WEIGHTED_RETURNS)
        return (
            rows.filter("is_current")
            .project("* EXCLUDE (known_from, known_to)")
            .order("account_id, as_of_date")
            .fetchall()
        )
