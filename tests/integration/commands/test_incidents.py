"""`incidents` and `alerts`: what they print, what they change, and their exit codes."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import Reading, Router
from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.incident_words import DryRun
from pipeline_platform.operations.plan import alertings
from pipeline_platform.run_context import utc_now
from tests.integration.commands.conftest import Shell
from tests.integration.operations.local_channels import LocalChannels
from tests.unit.operations.broken_things import finding

CHANNELS = ("pagerduty", "slack", "email", "status_page")


class TellingShell(Shell):
    """Commands of a platform whose channels are all one local server."""

    channels: LocalChannels

    @property
    def environment(self) -> dict[str, str]:
        here = {name: f"json://{self.channels.address}/{name}" for name in CHANNELS}
        return {**super().environment, "PLATFORM_CHANNELS": json.dumps(here)}

    def round(self, *findings: Finding) -> None:
        with self.services() as services:
            router = Router(services, run_command=lambda command: DryRun(command, 0, "fine", 0.1))
            router.round(lambda reached, _: Reading(findings, reached, is_complete=True))


@pytest.fixture
def telling(tmp_path: Path, database_url: str) -> Iterator[TellingShell]:
    with LocalChannels() as channels:
        shell = TellingShell(tmp_path / "home", database_url)
        shell.channels = channels
        yield shell


@pytest.fixture
def broken(telling: TellingShell) -> TellingShell:
    """One incident, a minute old."""
    began = Finding(**{**finding(event_id=1).__dict__, "at": utc_now() - timedelta(minutes=1)})
    telling.round(began)
    return telling


def mended() -> Finding:
    return Finding(**{**finding(event_id=2, is_fine=True).__dict__, "at": utc_now()})


def test_an_open_incident_is_listed_with_exit_code_1(broken: TellingShell) -> None:
    result = broken("incidents", "list", "--json")
    (row,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (row["incident"], row["pipeline"], row["state"], row["severity"]) == (
        1, "web_events", "OPEN", "warning",
    )  # fmt: skip


def test_a_resolved_incident_is_listed_only_when_asked_for(broken: TellingShell) -> None:
    broken.round(mended())
    listed = broken("incidents", "list", "--json")
    assert (listed.exit_code, json.loads(listed.stdout)) == (0, [])
    assert [row["state"] for row in broken.json("incidents", "list", "--all")] == ["RESOLVED"]


def test_another_pipelines_incidents_are_left_out(broken: TellingShell) -> None:
    assert broken.json("incidents", "list", "--pipeline", "advisory") == []


def test_an_incident_is_shown_with_all_that_is_known(broken: TellingShell) -> None:
    (shown,) = broken.json("incidents", "show", "1")
    assert shown["command"] == "pipeline-platform landing ingest"
    assert "ended with code 0" in shown["dry run"]
    assert [one["what"] for one in shown["timeline"]] == ["opened", "told"]
    assert {one["state"] for one in shown["deliveries"]} == {"DELIVERED"}
    assert [one["what"] for one in shown["faults"]] == ["check:a"]


def test_who_acknowledges_is_kept(broken: TellingShell) -> None:
    assert broken("incidents", "acknowledge", "1", "--by", "Ada").exit_code == 0
    (shown,) = broken.json("incidents", "show", "1")
    assert (shown["state"], shown["answered by"]) == ("ACKNOWLEDGED", "Ada")


@pytest.mark.parametrize("rounds", [0, 1], ids=["while it is open", "after its end"])
def test_what_somebody_found_stands_in_the_timeline(broken: TellingShell, rounds: int) -> None:
    for _ in range(rounds):
        broken.round(mended())
    result = broken("incidents", "note", "1", "The vendor renamed | a file.", "--by", "Ada")
    assert result.exit_code == 0
    (shown,) = broken.json("incidents", "show", "1")
    assert (shown["timeline"][-1]["what"], shown["timeline"][-1]["in words"]) == (
        "note", "Ada: The vendor renamed | a file."
    )  # fmt: skip


def test_what_somebody_found_stands_in_the_post_mortem(broken: TellingShell) -> None:
    broken("incidents", "note", "1", "The vendor renamed a file.", "--by", "Ada")
    page = broken("incidents", "postmortem", "1").stdout
    assert "| note | Ada: The vendor renamed a file. |" in page


def test_an_incident_is_resolved_by_hand_with_a_reason(broken: TellingShell) -> None:
    result = broken("incidents", "resolve", "1", "--reason", "A test delivery.", "--by", "Ada")
    assert result.exit_code == 0
    (shown,) = broken.json("incidents", "show", "1")
    assert (shown["state"], shown["resolution"]) == ("RESOLVED", "Ada: A test delivery.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "99"), "no incident 99"),
        (("resolve", "1", "--reason", " "), "Give a reason"),
        (("note", "99", "found"), "no incident 99"),
        (("note", "1", " "), "Write what you found"),
        (("list", "--pipeline", "weather"), "is not one pipeline"),
    ],
)
def test_wrong_use_ends_with_code_2_and_one_sentence(
    broken: TellingShell, words: tuple[str, ...], sentence: str
) -> None:
    result = broken("incidents", *words)
    assert (result.exit_code, sentence in result.stderr) == (2, True)


def test_a_post_mortem_has_facts_timeline_and_questions(
    broken: TellingShell, tmp_path: Path
) -> None:
    broken("incidents", "acknowledge", "1", "--by", "Ada")
    broken.round(mended())
    page = tmp_path / "incident.md"
    assert broken("incidents", "postmortem", "1", "--out", str(page)).exit_code == 0
    text = page.read_text()
    for part in (
        "# Post-mortem: incident 1, web_events",
        "| cause | `quality_degradation:web_events/silver/web_events` |",
        "by Ada",
        "| opened | check:a is broken. |",
        "| resolved | Everything is green again. |",
        "Root cause",
    ):
        assert part in text


def test_a_post_mortem_that_somebody_wrote_in_is_not_overwritten(
    broken: TellingShell, tmp_path: Path
) -> None:
    page = tmp_path / "incident.md"
    page.write_text("What we learned.")
    assert broken("incidents", "postmortem", "1", "--out", str(page)).exit_code == 2
    assert page.read_text() == "What we learned."


def test_figures_of_this_month_are_measured_while_somebody_watches(broken: TellingShell) -> None:
    broken.round(mended())
    rows = broken.json("incidents", "figures", "--months", "1")
    assert sorted(row["pipeline"] for row in rows) == sorted(alertings())
    (web,) = [row for row in rows if row["pipeline"] == "web_events"]
    assert (web["incidents"], web["unresolved"], web["keeps_recovery"]) == (1, 0, True)
    assert round(web["detect_minutes"]) == 1
    assert 0 < web["watched_minutes"] < 5


def test_figures_without_a_watch_are_not_measured(telling: TellingShell) -> None:
    rows = telling.json("incidents", "figures", "--months", "1")
    assert {(row["availability_pct"], row["keeps_availability"]) for row in rows} == {(None, None)}


def test_a_broken_promise_of_this_month_ends_with_code_1(telling: TellingShell) -> None:
    with telling.services() as services, services.database.transaction() as connection:
        store.remember_watch(connection, utc_now() - timedelta(minutes=4))
    down = finding("run:a", kind="run", subject="a", severity="critical", event_id=1)
    telling.round(Finding(**{**down.__dict__, "at": utc_now() - timedelta(minutes=3)}))
    result = telling("incidents", "figures", "--months", "1", "--json")
    (web,) = [row for row in json.loads(result.stdout) if row["pipeline"] == "web_events"]
    assert (result.exit_code, web["keeps_availability"]) == (1, False)


# --- alerts ---------------------------------------------------------------------------------------


def test_a_test_goes_through_every_channel_of_every_route(telling: TellingShell) -> None:
    result = telling("alerts", "test", "--json")
    rows = json.loads(result.stdout)
    wanted = [
        (name, route, channel)
        for name, alerting in alertings().items()
        for route, declared in alerting.routes.items()
        for channel in declared.channels
    ]
    assert result.exit_code == 0
    assert [(row["pipeline"], row["route"], row["channel"]) for row in rows] == wanted
    assert len(telling.channels.requests) == len(wanted)
    assert {one.body["kind"] for one in telling.channels.requests} == {"test"}


def test_a_test_says_which_channel_is_not_configured(shell: Shell) -> None:
    result = shell("alerts", "test", "--pipeline", "web_events", "--json")
    assert result.exit_code == 1
    assert {row["result"] for row in json.loads(result.stdout)} == {"not configured"}


def test_a_test_says_which_channel_refuses(telling: TellingShell) -> None:
    telling.channels.status = 500
    result = telling("alerts", "test", "--pipeline", "operations", "--json")
    assert result.exit_code == 1
    assert all("HTTP status 500" in row["result"] for row in json.loads(result.stdout))


def test_a_dry_run_of_the_test_sends_nothing(telling: TellingShell) -> None:
    assert telling("alerts", "test", "--dry-run").exit_code == 0
    assert telling.channels.requests == []


def test_deliveries_show_what_nobody_received(broken: TellingShell) -> None:
    assert broken("alerts", "deliveries", "1").exit_code == 0
    broken.channels.status = 503
    broken.round(mended())
    result = broken("alerts", "deliveries", "1", "--json")
    assert result.exit_code == 1
    assert {row["state"] for row in json.loads(result.stdout)} == {"DELIVERED", "PENDING"}


def test_no_command_shows_an_address(telling: TellingShell) -> None:
    telling.channels.status = 500
    said: Result = CliRunner().invoke(app, ["alerts", "test"], env=telling.environment)
    assert telling.channels.address not in said.output


# --- what runbooks tell people to run -------------------------------------------------------------


@pytest.mark.parametrize("pipeline", sorted(alertings()))
def test_every_command_that_a_message_may_name_exists(pipeline: str) -> None:
    from tests.platform.test_documentation import unknown_part

    alerting = alertings()[pipeline]
    remedies = [route.remedy for route in alerting.routes.values()]
    remedies += [
        one.remedy for one in getattr(alerting, "thresholds", {}).values() if one.remedy is not None
    ]
    lines = [line for one in remedies for line in (one.command, one.dry_run) if line]
    assert [line for line in lines if unknown_part(line.split()[1:])] == []
