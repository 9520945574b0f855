"""Replay: a preview in figures that the replay then has, over files, lines and silver records."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline_platform.advisory_performance.ingestion import FileOutcome, ingest_arrivals
from pipeline_platform.advisory_performance.measurement import measure_range, reconcile_range
from pipeline_platform.advisory_performance.measures import MEASURES
from pipeline_platform.advisory_performance.refinement import publish_months, stage_months
from pipeline_platform.advisory_performance.replay import (
    Preview,
    Replayed,
    Selection,
    preview_replay,
    replay,
)
from pipeline_platform.advisory_performance.replay_moves import MonthFigures, MonthMove
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    PIPELINE,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
    VENDOR_ROWS,
)
from pipeline_platform.advisory_performance.vendors import VENDORS_FOLDER, load_mappings
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.quality.measures import ALL, Scope
from pipeline_platform.quality.quarantine import discard_rows, list_rows
from pipeline_platform.quality.quarantined_files import list_files
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import control

NOW = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency"
)
JANUARY = """A-1,2026-01-05,100.00,,,,,USD
A-1,2026-01-06,101.00,10.00,SOD,,,USD
A-1,2026/01/07,102.00,,,0.0099,daily,USD
A-1,2026/01/08,103.00,5.00,SOD,,,USD
A-1,07.01.2026,104.00,,,,,USD
A-1,2026-01-09,104.00,1.00,NOON,,,USD
A-1,2026-01-12,many,,,,,USD
,2026/01/13,105.00,,,,,USD
A-1,2026/01/14,plenty,,,,,USD
"""
FEBRUARY = """A-1,2026-02-02,106.00,,,0.05,daily,USD
A-1,2026-02-03,107.00,2.00,EOD,,,USD
A-1,2026-02-04,no value,,,,,USD
"""
MARCH = "A-1,2026-03-02,108.00,,,,,USD\nA-1,2026-03-03,nothing,,,,,USD\n"
BULK = "".join(f"C-{number:03},2026-03-04,1.00,,,,,USD\n" for number in range(100))
RENAMED = """B-1,2026-01-05,200.00,,,,,USD
B-1,2026-01-06,201.00,1.00,SOD,,,USD
B-1,2026-01-07,202.00,1.00,LUNCH,,,USD
B-1,tomorrow,203.00,,,,,USD
"""
MENDS = (
    ("date_formats: ['%Y-%m-%d']", "date_formats: ['%Y-%m-%d', '%Y/%m/%d']"),
    (r"pattern: 'standard(?:[_-].*)?\.csv'", r"pattern: '(?:standard|std)(?:[_-].*)?\.csv'"),
    (
        "return_unit: decimal",
        "return_unit: decimal\ncodes:\n  flow_timing:\n    {SOD: start_of_day, EOD: end_of_day}",
    ),
)
STRICTER = (
    ("return_unit: decimal", "return_unit: decimal\ncodes:\n  currency: {EUR: EUR}"),
    *MENDS[:2],
)
FILES = {
    "standard_2026-01.csv": JANUARY,
    "standard_2026-02.csv": FEBRUARY,
    "standard_2026-03.csv": MARCH,
    "standard_2026-03_bulk.csv": BULK,
    "std_2026-01.csv": RENAMED,
    "nobody_2026-01.csv": RENAMED + "\n",
    "standard_empty.csv": "",
}


def mended(folder: Path, mends: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    """Load the shipped mappings with the standard one changed."""
    folder.mkdir(parents=True)
    for path in VENDORS_FOLDER.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if path.name == "standard.yaml":
            for before, after in mends:
                assert before in text
                text = text.replace(before, after)
        (folder / path.name).write_text(text, encoding="utf-8")
    return load_mappings(folder)


def process(run: RunContext) -> None:
    """Take all requested months to silver and gold, as the workflow does."""
    with run.services.database.connection() as connection:
        pending = [
            date.fromisoformat(key) for key in control.pending_partitions(connection, PIPELINE)
        ]
    if not pending:
        return
    months = month_range(min(pending), date(2026, 3, 1))
    publish_months(run, stage_months(run, months))
    list(measure_range(run, months))
    list(reconcile_range(run, months))
    with run.services.database.transaction() as connection:
        for month, version in control.pending_partitions(connection, PIPELINE).items():
            control.finish_partition(connection, PIPELINE, month, version, NOW)


def everything(services: Services) -> tuple[Any, ...]:
    """Return what a preview must leave alone: control tables, snapshots, objects."""
    tables = ("etl_processing_log", "quarantined_rows", "quarantined_files", "partition_work",
              "conservation_ledger", "data_quality_issues")  # fmt: skip
    with services.database.connection() as connection:
        stored = [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in tables
        ]
    zone = services.landing(PIPELINE)
    folders = [zone.list(name) for name in ("incoming", "processing", "archive", "quarantine")]
    snapshots = [services.lake.snapshots(table) for table in (VENDOR_ROWS, VALUATIONS)]
    temporary = sorted(Path(services.settings.temp_location).rglob("*.parquet"))
    return stored, folders, snapshots, temporary


def held(services: Services) -> Counter[str]:
    with services.database.connection() as connection:
        return Counter(one.row.rule for one in list_rows(connection, PIPELINE, limit=None))


def returns_of_months(services: Services) -> Mapping[tuple[str, str], Any]:
    """Return each account's current net return at its last day of each month."""
    with services.connect() as engine:
        rows = (
            services.lake.relation(engine, TIME_WEIGHTED_RETURNS)
            .filter("is_current")
            .order("as_of_date")
            .project("as_of_month::VARCHAR, account_id, net_return_mtd")
            .fetchall()
        )
    return {(month, account): value for month, account, value in rows}


def measured(run: RunContext) -> Mapping[str, Any]:
    """Return what is published of each month: score, dimensions, account-days, pass rate."""
    months = month_range(date(2026, 1, 1), date(2026, 3, 1))
    scores = MEASURES["data_quality_score"](Scope(run, tuple(months)))
    rates = MEASURES["reconciliation_pass_rate"]
    with run.services.connect() as engine:
        gold = run.services.lake.relation(engine, TIME_WEIGHTED_RETURNS).filter("is_current")
        days = dict(gold.aggregate("as_of_month, count(*)", "as_of_month").fetchall())
    return {
        str(month): (
            scores[str(month)].value,
            dict(scores[str(month)].parts),
            days.get(month, 0),
            rates(Scope(run, (month,)))[ALL].value,
        )
        for month in months
    }


def foretold(figures: MonthFigures) -> tuple[Any, ...]:
    dimensions = {name: value for name, value in figures.dimensions.items() if value is not None}
    return figures.score, dimensions, figures.account_days, figures.pass_rate


@dataclass
class World:
    """A pipeline with six files, of which some lines, records and files were refused."""

    services: Services
    folder: Path

    def run(self, name: str, mends: tuple[tuple[str, str], ...] = ()) -> RunContext:
        mappings = mended(self.folder / name, mends)
        return RunContext(self.services, name, clock=lambda: NOW, mappings=mappings)


@pytest.fixture(scope="module")
def new_world(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], World]:
    def make() -> World:
        folder = tmp_path_factory.mktemp("replay")
        settings = Settings(
            home=folder / "home", environment="test", database_url=SecretStr(new_database())
        )
        world = World(Services(settings), folder)
        for name, rows in FILES.items():
            content = f"{HEADER}\n{rows}" if rows else ""
            world.services.landing(PIPELINE).put(name, content.encode())
        run = world.run("first")
        list(ingest_arrivals(run))
        process(run)
        return world

    return make


@dataclass
class Story:
    """A preview, the replay after it, and what was there before and after."""

    world: World
    untouched: bool
    held_before: Counter[str]
    gold_before: int
    preview: Preview
    replayed: Replayed
    held_after: Counter[str]
    returns: tuple[Mapping[tuple[str, str], Any], Mapping[tuple[str, str], Any]]
    measured: tuple[Mapping[str, Any], Mapping[str, Any]]

    @property
    def moves(self) -> tuple[MonthMove, ...]:
        assert self.preview.moves
        return self.preview.moves


@pytest.fixture(scope="module")
def story(new_world: Callable[[], World]) -> Iterator[Story]:
    world = new_world()
    services = world.services
    run = world.run("mended", MENDS)
    held_before, before = held(services), everything(services)
    gold_before = sum(services.lake.partitions(TIME_WEIGHTED_RETURNS).values())
    returns_before = returns_of_months(services)
    measured_before = measured(run)
    preview = preview_replay(run, Selection(), moves=True)
    untouched = everything(services) == before
    replayed = replay(run, preview)
    process(run)
    yield Story(
        world,
        untouched,
        held_before,
        gold_before,
        preview,
        replayed,
        held(services),
        (returns_before, returns_of_months(services)),
        (measured_before, measured(run)),
    )
    services.close()


def counts(rules: Any) -> Counter[str]:
    return Counter({one.rule: one.count for one in rules})


def outcome_of(story: Story, name: str) -> FileOutcome:
    return next(one for one in story.replayed.outcomes if one.name == name)


def test_a_preview_changes_nothing(story: Story) -> None:
    assert story.untouched


def test_a_preview_looks_at_every_held_record(story: Story) -> None:
    assert story.preview.held_rows == story.held_before.total()


def test_records_that_would_pass_are_the_records_that_pass(story: Story) -> None:
    of_files = story.preview.file_records - story.preview.passing_file_records
    remaining = story.held_after.total() - of_files
    assert story.preview.passing_rows == story.preview.held_rows - remaining


def test_records_that_would_fail_are_those_held_afterwards_rule_by_rule(story: Story) -> None:
    with story.world.services.database.connection() as connection:
        after = list_rows(connection, PIPELINE, limit=None)
    old = Counter(one.row.rule for one in after if one.row.file_name != "std_2026-01.csv")
    assert counts(story.preview.failing_rows) == old


def test_a_line_that_passes_the_first_hop_but_not_the_second_still_fails(story: Story) -> None:
    values = ("many", "plenty", "no value", "nothing")  # "plenty" was held for its date before
    assert counts(story.preview.failing_rows)["market_value_invalid"] == len(values)


def test_why_a_record_still_fails_is_said_by_example(story: Story) -> None:
    reasons = [text for one in story.preview.failing_rows for text in one.examples]
    assert any("'NOON'" in text for text in reasons)


def test_a_file_whose_name_matches_no_mapping_still_fails(story: Story) -> None:
    failing = {trial.file_name: trial.rule for trial in story.preview.failing_files}
    assert failing == {"nobody_2026-01.csv": "unknown_vendor", "standard_empty.csv": "empty_file"}


def test_records_of_a_mended_file_are_counted_through_both_hops(story: Story) -> None:
    assert (story.preview.file_records, story.preview.passing_file_records) == (4, 2)


def test_only_files_that_gain_are_read_again(story: Story) -> None:
    assert {name for _, name in story.preview.files} == {"standard_2026-01.csv", "std_2026-01.csv"}


def test_every_file_of_the_preview_is_published_by_the_replay(story: Story) -> None:
    assert [(one.name, one.status) for one in story.replayed.outcomes] == [
        (name, "published") for _, name in story.preview.files
    ]


def test_a_month_in_which_nothing_would_pass_is_not_requested(story: Story) -> None:
    assert story.preview.months == ("2026-01-01", "2026-02-01")


def test_months_of_the_preview_are_those_that_the_replay_requests(story: Story) -> None:
    assert story.replayed.months == story.preview.months


def test_later_months_are_named_as_processed_too(story: Story) -> None:
    assert story.preview.processed_months == ("2026-01-01", "2026-02-01", "2026-03-01")


def test_account_days_of_gold_that_the_months_hold_are_counted(story: Story) -> None:
    assert story.preview.processed_account_days == story.gold_before


def test_validity_is_said_as_it_will_be(story: Story) -> None:
    with story.world.services.database.connection() as connection:
        row = connection.execute(
            "SELECT 100.0 * (sum(arrived) - sum(deduplicated) - sum(quarantined))"
            " / (sum(arrived) - sum(deduplicated)) FROM conservation_ledger"
            " WHERE hop = 'bronze_to_silver'"
        ).fetchone()
    assert row is not None
    assert story.preview.validity_after == pytest.approx(float(row[0]))


def test_score_and_gold_before_are_the_published_ones(story: Story) -> None:
    found = {one.month: foretold(one.before) for one in story.moves}
    assert found == {month: story.measured[0][month] for month in found}


def test_score_and_gold_move_as_foretold(story: Story) -> None:
    found = {one.month: foretold(one.after) for one in story.moves}
    assert found == {month: story.measured[1][month] for month in found}


def test_months_that_move_are_those_foretold(story: Story) -> None:
    before, after = story.measured
    assert {one.month for one in story.moves} >= {
        month for month in before if before[month] != after[month]
    }


def test_the_reconciliation_pass_rate_moves_in_the_world_of_these_tests(story: Story) -> None:
    january = story.moves[0]
    assert january.before.pass_rate != january.after.pass_rate


def test_accounts_whose_return_of_the_month_changes_are_counted(story: Story) -> None:
    before, after = story.returns
    changed = Counter(
        month for month, account in {*before, *after}
        if before.get((month, account)) != after.get((month, account))
    )  # fmt: skip
    assert {one.month: one.changed_accounts for one in story.moves} == {
        one.month: changed[one.month] for one in story.moves
    }


def test_returns_of_the_month_are_those_that_are_published(story: Story) -> None:
    before, after = story.returns
    net = [(move.month, one) for move in story.moves for one in move.returns if one.basis == "net"]
    assert [(one.before, one.after) for _, one in net] == [
        (before.get((month, one.account_id)), after.get((month, one.account_id)))
        for month, one in net
    ]


def test_what_would_not_be_published_moves_nothing(world: World) -> None:
    found = preview_replay(world.run("forbidden", STRICTER), Selection(), moves=True)
    assert found.moves is None


def test_a_replayed_file_is_no_longer_held(story: Story) -> None:
    with story.world.services.database.connection() as connection:
        names = {file.file_name for file in list_files(connection, PIPELINE)}
    assert names == {"nobody_2026-01.csv", "standard_empty.csv"}


def test_the_issue_of_a_replayed_file_is_closed(story: Story) -> None:
    with story.world.services.database.connection() as connection:
        still_open = connection.execute(
            "SELECT count(*) FROM data_quality_issues WHERE issue_type = 'file'"
            " AND file_name = 'std_2026-01.csv' AND resolved_at IS NULL"
        ).fetchone()
    assert still_open == (0,)


def test_the_ledger_balances_after_a_replay(story: Story) -> None:
    with story.world.services.database.connection() as connection:
        leaks = connection.execute(
            "SELECT * FROM conservation_ledger"
            " WHERE arrived <> published + quarantined + deduplicated + held_late"
        ).fetchall()
    assert leaks == []


def test_what_was_replayed_is_in_silver(story: Story) -> None:
    services = story.world.services
    with services.connect() as engine:
        days = services.lake.relation(engine, VALUATIONS).filter("is_current").fetchall()
    assert len(days) == 4 + 2 + 2 + 1 + 100


def test_a_second_replay_has_nothing_to_do(story: Story) -> None:
    again = preview_replay(story.world.run("again", MENDS), Selection())
    assert again.changes_nothing


def test_a_replay_without_a_mend_would_change_nothing(story: Story) -> None:
    months = preview_replay(story.world.run("unmended", MENDS), Selection(rule="not_a_number"))
    assert (months.passing_rows, months.months) == (0, ())


@pytest.fixture(scope="module")
def world(new_world: Callable[[], World]) -> Iterator[World]:
    """A world that no test changes for good."""
    made = new_world()
    yield made
    made.services.close()


def test_a_selection_by_month_leaves_files_out(world: World) -> None:
    found = preview_replay(world.run("by_month", MENDS), Selection(partition_key="2026-02-01"))
    assert (found.held_files, found.held_rows, found.passing_rows) == (0, 2, 1)


def test_records_beside_the_selection_that_would_pass_are_counted(world: World) -> None:
    found = preview_replay(world.run("one", MENDS), Selection(partition_key="2026-02-01"))
    assert found.also_passing == 0


def test_records_that_a_stricter_mapping_takes_out_are_announced(world: World) -> None:
    found = preview_replay(world.run("stricter", STRICTER), Selection())
    assert sum(one.count for one in found.newly_failing) == 3 + 100


def test_what_would_forbid_publication_is_said(world: World) -> None:
    found = preview_replay(world.run("forbidding", STRICTER), Selection())
    assert any("data validity" in text.lower() for text in found.objections)


def test_a_discarded_record_that_fails_again_is_no_news(world: World) -> None:
    services = world.services
    with services.database.connection() as connection:
        ids = [
            one.quarantine_id
            for one in list_rows(connection, PIPELINE, limit=None)
            if "nothing" in (one.row.record or "")
        ]
        discard_rows(connection, PIPELINE, ids, resolution="vendor withdrew it", now=NOW)
    found = preview_replay(world.run("discarded", MENDS), Selection())
    assert counts(found.newly_failing) == Counter()


def test_an_unreadable_archived_file_is_not_read_again(world: World) -> None:
    services = world.services
    stored = next(one for one in services.landing(PIPELINE).list("archive") if "-01" in one.key)
    path = Path(services.landing(PIPELINE).location("archive")) / stored.key
    content = path.read_bytes()
    path.write_bytes(content + b"tampered")
    found = preview_replay(world.run("damaged", MENDS), Selection())
    path.write_bytes(content)
    assert "standard_2026-01.csv" not in {name for _, name in found.files}
