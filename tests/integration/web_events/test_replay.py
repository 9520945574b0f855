"""Records that a mended parser reads: previewed, replayed once, by command (SW-21, B-9)."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from typer.testing import Result

from pipeline_platform.ingestion.replay import preview_files, replay_files
from pipeline_platform.ingestion.selection import Selection
from pipeline_platform.quality.measurements import judge
from pipeline_platform.services import Services
from pipeline_platform.web_events.effects import plain
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.measures import MEASURES, Scope
from pipeline_platform.web_events.run_context import shipped_sources
from pipeline_platform.web_events.sources import SOURCES_FOLDER, JsonEvents, SourceMapping
from pipeline_platform.web_events.tables import PIPELINE, TABLES, WEB_EVENTS
from tests.integration.commands.conftest import Shell
from tests.integration.web_events.conftest import rows_of
from tests.integration.web_events.event_files import (
    ARRIVED,
    DAY,
    GOOD,
    NOON,
    deliver,
    event,
    events,
    ingest,
    refine_requested,
    run_of,
    silver,
)

WITH_SECONDS = json.dumps({"event_id": "s", "event_time": 1795168800, **GOOD}).encode() + b"\n"


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


def sources_with(time_formats: Sequence[str]) -> Mapping[str, SourceMapping]:
    """Return the shipped sources, of which the standard one reads other times."""
    standard = shipped_sources()["standard_events"]
    layout = standard.format
    assert isinstance(layout, JsonEvents)
    changed = layout.model_copy(update={"time_formats": list(time_formats)})
    known = standard.model_copy(update={"format": changed})
    return {**shipped_sources(), "standard_events": known}


def mended(services: Services) -> EventFiles:
    """Return an intake whose mapping knows times in seconds, too."""
    sources = sources_with(["iso8601", "epoch_s", "epoch_ms"])
    return EventFiles(replace(run_of(services, "mended"), sources=sources))


@pytest.fixture
def held(services) -> Services:
    deliver(services, "events_1.ndjson", event("good") + WITH_SECONDS + b"nonsense\n")
    deliver(services, "events_2.ndjson", WITH_SECONDS)
    ingest(run_of(services))
    return services


def test_a_preview_says_what_passes_now_and_what_still_fails(held, tmp_path) -> None:
    preview = preview_files(mended(held), Selection(), tmp_path)
    assert (preview.held_rows, preview.passing_rows, dict(preview.failing_rows)) == (
        2,
        1,
        {"invalid_json": 1},
    )
    assert (preview.held_files, preview.passing_files) == (1, 1)


def test_a_preview_changes_nothing(held, tmp_path) -> None:
    preview_files(mended(held), Selection(), tmp_path)
    refine_requested(run_of(held))
    assert silver(held, "event_id") == [("good",)]


def test_without_a_mend_there_is_nothing_to_do(held, tmp_path) -> None:
    assert preview_files(EventFiles(run_of(held)), Selection(), tmp_path).changes_nothing


def test_records_that_a_stricter_mapping_takes_out_are_announced(held, tmp_path) -> None:
    strict = replace(run_of(held, "strict"), sources=sources_with(["epoch_s"]))
    preview = preview_files(EventFiles(strict), Selection(), tmp_path)
    assert dict(preview.newly_failing) == {"unreadable_time": 1}


def test_a_replay_does_what_the_preview_said_and_once(held, tmp_path) -> None:
    intake = mended(held)
    replay_files(intake, preview_files(intake, Selection(), tmp_path))
    refine_requested(intake.run)
    assert silver(held, "event_id, event_date") == [("good", DAY), ("s", DAY)]
    assert preview_files(intake, Selection(), tmp_path).changes_nothing


# --- what a replay would move ------------------------------------------------------------------

NEXT_DAY = DAY + timedelta(days=1)
LATER = NOON + timedelta(days=1)


def in_seconds(event_id: str, at: datetime, **fields: object) -> bytes:
    """Return an event that only a mended mapping reads."""
    line = {"event_id": event_id, "event_time": int(at.timestamp()), **GOOD, **fields}
    return json.dumps(line).encode() + b"\n"


@dataclass(frozen=True)
class Figures:
    """What is published: events and score by day, all marts' rows, how checks come out."""

    days: dict[str, tuple[int, float]]
    marts: dict[str, list[dict[str, Any]]]
    checks: dict[tuple[str, str], tuple[float | None, str]]


def rounded(mean: float | None) -> float | None:
    """Forget the order in which a mean was summed up."""
    return None if mean is None else round(mean, 9)


def figures(services: Services) -> Figures:
    marts = {table.name: rows_of(services, table) for table in MARTS.tables}
    with services.connect() as engine:
        days = (
            services.lake.relation(engine, WEB_EVENTS)
            .aggregate("event_date, count(*), avg(data_quality_score)", "event_date")
            .fetchall()
        )
    run = run_of(services)
    present = tuple(sorted(day for day, _, _ in days))
    checks = {
        (one.name, label): (rounded(verdict.value), verdict.outcome)
        for one in run.runbook.thresholds.values()
        if one.stage == "silver" and not one.is_blocking
        for label, measured in MEASURES[one.name](Scope(run, present)).items()
        for verdict in [judge(measured, one)]
    }
    return Figures({str(day): (count, rounded(score)) for day, count, score in days}, marts, checks)


def process(shell: Shell) -> Result:
    """Take all that waits to silver and the marts."""
    return shell("partitions", "process", "--pipeline", "web_events")


@dataclass(frozen=True)
class Story:
    """A dry run, and what was published before it, after it and after the replay."""

    shell: Shell
    moves: dict[str, Any]
    stored_before: tuple[Any, ...]
    stored_after: tuple[Any, ...]
    before: Figures
    after: Figures
    processed: Result
    waiting: Any


def stored(services: Services) -> tuple[Any, ...]:
    """Return what a dry run must leave alone: control tables, snapshots, objects, files."""
    tables = ("etl_processing_log", "quarantined_rows", "quarantined_files", "partition_work",
              "conservation_ledger", "data_quality_issues")  # fmt: skip
    with services.database.connection() as connection:
        rows = [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in tables
        ]
    zone = services.landing(PIPELINE)
    folders = [zone.list(name) for name in ("incoming", "processing", "archive", "quarantine")]
    snapshots = [services.lake.snapshots(one) for one in (*TABLES, *MARTS.tables)]
    home = services.settings.home
    files = sorted(path for path in home.rglob("*.parquet"))
    return rows, folders, snapshots, files


@pytest.fixture(scope="module")
def story(new_services, tmp_path_factory) -> Story:
    """A replay that brings a bot, a new session, a day, and the first of two copies of an event."""
    services = new_services()
    first = events(4) + in_seconds("bot", NOON, user_agent="python-requests/2.32", ip="192.0.2.9")
    first += in_seconds("shared", NOON - timedelta(days=1)) + in_seconds("poor", NOON, url=None)
    deliver(services, "events_1.ndjson", first, arrived_at=ARRIVED - timedelta(hours=12))
    deliver(services, "events_2.ndjson", events(3, LATER, "later") + event("shared", LATER))
    deliver(services, "events_3.ndjson", in_seconds("whole", NOON + timedelta(hours=2)))
    ingest(run_of(services))
    shell = Shell(services.settings.home, services.settings.database_url.get_secret_value())
    process(shell)
    folder = tmp_path_factory.mktemp("mended") / "sources"
    shutil.copytree(SOURCES_FOLDER, folder)
    path = folder / "standard_events.yaml"
    path.write_text(path.read_text().replace("[iso8601,", "[iso8601, epoch_s,"))
    before, stored_before = figures(services), stored(services)
    command = ("quarantine", "replay", "--pipeline", "web_events", "--dry-run")
    moves = shell.json(*command, "--mappings", str(folder))["what moves"]
    stored_after = stored(services)
    intake = mended(services)
    replay_files(intake, preview_files(intake, Selection(), folder))
    processed = process(shell)
    waiting = shell.json("partitions", "list")
    return Story(
        shell, moves, stored_before, stored_after, before, figures(services), processed, waiting
    )


def test_a_dry_run_stores_nothing(story) -> None:
    assert story.stored_after == story.stored_before


def test_one_command_processes_all_days_that_wait_and_those_it_finds_wrong(story) -> None:
    assert (story.waiting, "the step itself" in story.processed.output) == ([], False)
    assert f"web_events: {NEXT_DAY} to {NEXT_DAY}" in story.processed.output


def test_the_log_of_the_runbooks_step_is_found_by_a_day(story) -> None:
    """SW-12."""
    step = ("--step", "process_historical_data", "--partition", str(NEXT_DAY))
    lines = story.shell.json("logs", *step)
    assert {line["step"] for line in lines} == {"process_historical_data"}
    assert "STEP_SUCCESS" in {line["event"] for line in lines}


def test_a_day_is_explained_against_its_version_before(story) -> None:
    """SP-63: four events and what the mended mapping lets pass."""
    found = story.shell.json("explain", "web_events", str(DAY))
    told = found["difference"]
    names = ("rows now", "rows before", "rows that are new", "rows that are gone")
    now, before, new, gone = (told[name] for name in names)
    assert (now, before, new - gone, told["code"]) == (7, 4, 3, "the same")
    (read,) = found["inputs"]
    assert set(read["new since the version before"].split(", ")) == {
        "events_1.ndjson",
        "events_3.ndjson",
    }


def test_partition_status_shows_a_processed_day_as_done(story) -> None:
    rows = story.shell.json("partition-status", "web_events", str(DAY))
    found = {row["asset"]: row["state"] for row in rows}
    assert {found[f"web_events/{name}"] for name in ("silver/web_events", "gold/sessions")} == {
        "done"
    }


def test_the_runbooks_marts_are_built_alone_by_command(story) -> None:
    with story.shell.services() as services:
        before = {table.name: services.lake.snapshots(table)[-1] for table in MARTS.tables}
        names = ("daily_summary", "weekly_performance_summary")
        days = ("--from", str(DAY), "--to", str(DAY))
        done = story.shell("marts", "build", "web_events", *names, *days)
        after = {table.name: services.lake.snapshots(table)[-1] for table in MARTS.tables}
    changed = {name for name, last in after.items() if last != before[name]}
    assert (done.exit_code, changed) == (0, set(names)), done.output


def test_a_mart_that_is_none_is_wrong_use(story) -> None:
    days = ("--from", str(DAY), "--to", str(DAY))
    assert story.shell("marts", "build", "web_events", "hourly_summary", *days).exit_code == 2


def test_events_and_score_of_days_move_as_foretold(story) -> None:
    nothing = (0, None)
    moved = {
        day: (*story.before.days.get(day, nothing), *story.after.days.get(day, nothing))
        for day in {*story.before.days, *story.after.days}
        if story.before.days.get(day) != story.after.days.get(day)
    }
    assert moved == {
        one["day"]: (
            one["events_before"],
            rounded(one["score_before"]),
            one["events_after"],
            rounded(one["score_after"]),
        )
        for one in story.moves["days"]
    }


def test_a_day_that_loses_a_copy_of_an_event_is_foretold_too(story) -> None:
    loss = next(one for one in story.moves["days"] if one["day"] == str(NEXT_DAY))
    assert (loss["events_before"], loss["events_after"]) == (4, 3)


def test_every_figure_of_the_marts_moves_as_foretold(story) -> None:
    marts = ("daily_summary", "quality_trend", "weekly_performance_summary")
    foretold = {
        (one["mart"], one["partition"], name): pair
        for one in story.moves["effects"]["marts"]
        for name, pair in one["columns"].items()
        if one["mart"] in marts
    }
    assert foretold == {
        (mart, str(day), name): pair
        for mart in marts
        for day, name, pair in differing(story.before.marts[mart], story.after.marts[mart])
    }


def differing(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> Iterator[tuple[date, str, list[Any]]]:
    """Yield the figures that differ of marts with one row for each partition, as JSON has them."""
    by = "week_start_date" if "week_start_date" in after[0] else "event_date"
    old, new = ({row[by]: row for row in rows} for rows in (before, after))
    for day, row in new.items():
        for name, value in row.items():
            known = old.get(day, {}).get(name)
            if name != by and known != value:
                yield day, name, plain({"pair": [known, value]})["pair"]


@pytest.mark.parametrize("mart", ["sessions", "traffic_by_source"])
def test_rows_of_marts_come_and_go_as_foretold(story, mart: str) -> None:
    foretold = {
        one["partition"]: (one["rows_that_go"], one["rows_that_come"])
        for one in story.moves["effects"]["marts"]
        if one["mart"] == mart
    }
    old, new = story.before.marts[mart], story.after.marts[mart]
    gone = Counter(str(row["event_date"]) for row in old if row not in new)
    come = Counter(str(row["event_date"]) for row in new if row not in old)
    assert foretold == {day: (gone[day], come[day]) for day in {*gone, *come}}


def test_checks_that_move_come_out_as_foretold(story) -> None:
    foretold = {
        (one["check"], one["of"]): (rounded(one["value_after"]), one["outcome_after"])
        for one in story.moves["effects"]["checks"]
    }
    unmeasured = (None, "not_measurable")
    assert foretold == {
        key: found
        for key, found in story.after.checks.items()
        if found != story.before.checks.get(key, unmeasured)
    }


def test_commands_list_and_replay_what_is_held(held, settings) -> None:
    shell = Shell(settings.home, settings.database_url.get_secret_value())
    listed = shell.json("quarantine", "list", "--pipeline", "web_events")
    result = shell("quarantine", "replay", "--pipeline", "web_events", "--dry-run", "--json")
    assert {one["rule"] for one in listed} == {"too_old", "invalid_json", "nothing_readable"}
    assert (result.exit_code, json.loads(result.stdout)["held records"]) == (1, 2)


def test_commands_deliver_and_ingest(tmp_path, settings) -> None:
    shell = Shell(settings.home, settings.database_url.get_secret_value())
    path = tmp_path / "events_1.ndjson"
    path.write_bytes(event("e"))
    assert shell("landing", "put", str(path), "--pipeline", "web").exit_code == 0
    (outcome,) = shell.json("landing", "ingest", "--pipeline", "web")
    assert (outcome["outcome"], outcome["partitions"]) == ("published", [str(DAY)])


def test_a_file_is_checked_without_storing_anything(tmp_path, settings) -> None:
    shell = Shell(settings.home, settings.database_url.get_secret_value())
    path = tmp_path / "events_1.ndjson"
    path.write_bytes(event("e") + b"nonsense\n")
    report = shell.json("web", "source", "check", str(path))
    assert (report["records"], report["events"], report["rejected"]) == (
        2, 1, {"invalid_json": 1}
    )  # fmt: skip
