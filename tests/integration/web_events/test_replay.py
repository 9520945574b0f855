"""Records that a mended parser reads: previewed, replayed once, by command (SW-21, B-9)."""

import json
from dataclasses import replace

import pytest

from pipeline_platform.ingestion.replay import preview_files, replay_files
from pipeline_platform.ingestion.selection import Selection
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.run_context import shipped_sources
from pipeline_platform.web_events.sources import JsonEvents
from tests.integration.commands.conftest import Shell
from tests.integration.web_events.event_files import (
    DAY,
    GOOD,
    deliver,
    event,
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


def mended(services: Services) -> EventFiles:
    """Return an intake whose mapping knows times in seconds, too."""
    standard = shipped_sources()["standard_events"]
    layout = standard.format
    assert isinstance(layout, JsonEvents)
    formats = ["iso8601", "epoch_s", "epoch_ms"]
    known = standard.model_copy(
        update={"format": layout.model_copy(update={"time_formats": formats})}
    )
    run = run_of(services, "mended")
    return EventFiles(replace(run, sources={**shipped_sources(), "standard_events": known}))


@pytest.fixture
def held(services) -> Services:
    deliver(services, "events_1.ndjson", event("good") + WITH_SECONDS + b"nonsense\n")
    deliver(services, "events_2.ndjson", WITH_SECONDS)
    ingest(run_of(services))
    return services


def test_a_preview_says_what_passes_now_and_what_still_fails(held) -> None:
    preview = preview_files(mended(held), Selection())
    assert (preview.held_rows, preview.passing_rows, dict(preview.failing_rows)) == (
        2,
        1,
        {"invalid_json": 1},
    )
    assert (preview.held_files, preview.passing_files) == (1, 1)


def test_a_preview_changes_nothing(held) -> None:
    preview_files(mended(held), Selection())
    refine_requested(run_of(held))
    assert silver(held, "event_id") == [("good",)]


def test_without_a_mend_there_is_nothing_to_do(held) -> None:
    assert preview_files(EventFiles(run_of(held)), Selection()).changes_nothing


def test_a_replay_does_what_the_preview_said_and_once(held) -> None:
    intake = mended(held)
    replay_files(intake, preview_files(intake, Selection()))
    refine_requested(intake.run)
    assert silver(held, "event_id, event_date") == [("good", DAY), ("s", DAY)]
    assert preview_files(intake, Selection()).changes_nothing


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
