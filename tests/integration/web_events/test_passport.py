"""From an event in gold back to each line that delivered it, and a leak that the reports show."""

import json
from datetime import timedelta

import pytest

from pipeline_platform.failures import NotFoundError
from pipeline_platform.web_events.passport import EventPassport, trace_event
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import PIPELINE
from tests.integration.commands.conftest import Shell
from tests.integration.web_events.conftest import build_and_publish
from tests.integration.web_events.event_files import (
    ARRIVED,
    DAY,
    deliver,
    event,
    events,
    ingest,
    refine_requested,
    run_of,
)

BROKEN = b'{"event_id": "e1", "event_time": "never"}\n'


@pytest.fixture(scope="module")
def shell(new_database, tmp_path_factory):
    """Two files, the second with a copy of an event and a broken record under its id."""
    made = Shell(tmp_path_factory.mktemp("passport"), new_database())
    with made.services() as services:
        deliver(services, "events_1.ndjson", events(3))
        deliver(
            services,
            "events_2.ndjson",
            event("e1") + BROKEN + event("other"),
            arrived_at=ARRIVED + timedelta(hours=1),
        )
        run = run_of(services)
        ingest(run)
        refine_requested(run)
        build_and_publish(services, DAY, DAY)
    return made


@pytest.fixture(scope="module")
def found(shell: Shell) -> EventPassport:
    with shell.services() as services:
        return trace_event(services, "e1", DAY)


def test_it_leads_to_the_file_and_line_that_silver_took(found: EventPassport) -> None:
    assert found.source is not None
    assert (found.source.file_name, found.source.line_number) == ("events_1.ndjson", 2)
    assert found.source.record is not None
    assert json.loads(found.source.record["raw"])["event_id"] == "e1"


def test_it_names_the_copies_that_were_deduplicated(found: EventPassport) -> None:
    assert {(one["is"], one["file"], one["line"]) for one in found.deliveries()} == {
        ("source", "events_1.ndjson", 2),
        ("deduplicated", "events_2.ndjson", 1),
    }


def test_it_names_what_was_held_back_under_its_id(found: EventPassport) -> None:
    assert [(one["file_name"], one["line_number"]) for one in found.held] == [
        ("events_2.ndjson", 2)
    ]


def test_it_shows_the_day_and_the_session_that_count_it(found: EventPassport) -> None:
    assert [(one["table"], one["event_date"]) for one in found.gold] == [
        ("sessions", DAY),
        ("daily_summary", DAY),
    ]
    assert found.gold[0]["session_id"] == found.silver["session_id"]


def test_it_names_the_runs_that_wrote_the_day(found: EventPassport) -> None:
    runs = {one["table"]: one["run_id"] for one in found.made_by}
    assert runs["silver/web_events"] == "test"
    assert str(runs["gold/daily_summary"]).startswith("marts-")


def test_the_day_need_not_be_known(shell: Shell, found: EventPassport) -> None:
    with shell.services() as services:
        assert trace_event(services, "e1") == found


def test_an_unknown_event_has_no_passport(shell: Shell) -> None:
    with shell.services() as services, pytest.raises(NotFoundError, match="holds no event"):
        trace_event(services, "x' OR 1=1")


def test_the_command_prints_one_document(shell: Shell) -> None:
    printed = shell.json("web", "passport", "e1", "--day", str(DAY))
    assert printed["silver"]["event_id"] == "e1"
    assert {one["is"] for one in printed["lines"]} == {"source", "deduplicated"}


def test_the_command_is_readable(shell: Shell) -> None:
    result = shell("web", "passport", "e1")
    assert (result.exit_code, "Delivered lines" in result.stdout) == (0, True)


def test_a_leak_of_web_events_shows_in_the_ledger(shell: Shell) -> None:
    assert shell("reports", "ledger", "--pipeline", "web", "--faults").exit_code == 0
    lose_one_record(shell, 1)
    try:
        leaking = shell("reports", "ledger", "--pipeline", "web", "--faults", "--json")
        others = shell("reports", "ledger", "--faults")
    finally:
        lose_one_record(shell, -1)

    assert (leaking.exit_code, others.exit_code) == (1, 0)
    assert [row["lost before"] for row in json.loads(leaking.stdout)] == [1]


def lose_one_record(shell: Shell, count: int) -> None:
    """Change the ledger as if records had been lost between bronze and silver."""
    with shell.services() as services, services.database.transaction() as connection:
        connection.execute(
            "UPDATE conservation_ledger SET arrived = arrived - %(count)s,"
            " published = published - %(count)s WHERE ctid = (SELECT min(ctid) FROM"
            " conservation_ledger WHERE pipeline = %(pipeline)s AND hop = 'bronze_to_silver'"
            " AND published > 1)",
            {"count": count, "pipeline": PIPELINE},
        )


def test_checks_of_any_pipeline_are_shown(shell: Shell) -> None:
    checks = shell.json("reports", "checks", "--pipeline", "web_events")
    assert {one["check"] for one in checks} == load_runbook().thresholds.keys()
    assert shell("reports", "checks", "--pipeline", "nobody").exit_code == 2


def test_failed_events_are_a_view_of_what_is_held(shell: Shell) -> None:
    with shell.services() as services, services.database.connection() as connection:
        rows = connection.execute(
            "SELECT file_name, line_number, record FROM failed_events"
        ).fetchall()
    assert rows == [("events_2.ndjson", 2, BROKEN.decode().rstrip())]
