"""`pipelines list | stop | resume` and `token`: what an operator sees, and what is recorded."""

import pytest

from tests.integration.commands.conftest import Shell

REASON = ("--reason", "vendor delivers twice")


def states(shell: Shell) -> dict[str, str]:
    return {row["pipeline"]: row["state"] for row in shell.json("pipelines", "list")}


def test_a_pipeline_is_stopped_and_resumed_by_the_beginning_of_its_name(shell: Shell) -> None:
    assert shell("pipelines", "stop", "advisory", *REASON).exit_code == 0
    stopped = states(shell)
    assert shell("pipelines", "resume", "advisory").exit_code == 0
    assert stopped == {
        "advisory_performance": "stopped",
        "operations": "running",
        "web_events": "running",
    }
    assert set(states(shell).values()) == {"running"}


def test_all_are_stopped_and_the_list_says_why(shell: Shell) -> None:
    shell("pipelines", "stop", *REASON)
    listed = shell.json("pipelines", "list")
    assert {(row["state"], row["scope"], row["reason"]) for row in listed} == {
        ("stopped", "*", "vendor delivers twice")
    }


@pytest.mark.parametrize("command", [("landing", "ingest"), ("web", "relabel", "publish", "one")])
def test_a_command_that_processes_is_refused_meanwhile(
    shell: Shell, command: tuple[str, ...]
) -> None:
    shell("pipelines", "stop", *REASON)
    result = shell(*command)
    assert result.exit_code == 2
    assert "vendor delivers twice" in " ".join(result.stderr.split())


def test_a_stop_needs_a_reason(shell: Shell) -> None:
    assert shell("pipelines", "stop").exit_code == 2


def test_an_unknown_pipeline_is_named(shell: Shell) -> None:
    result = shell("pipelines", "stop", "weather", *REASON)
    assert result.exit_code == 2
    assert "weather" in result.stderr


def test_it_is_recorded_with_who_did_it(shell: Shell) -> None:
    shell("pipelines", "stop", "web", *REASON)
    with shell.services() as services, services.database.connection() as connection:
        (row,) = connection.execute(
            "SELECT actor, action, target, result FROM operator_actions"
        ).fetchall()
    assert row[0].startswith("cli:")
    assert row[1:] == ("stop", "web_events", "done")


@pytest.mark.parametrize("name", ["Grafana", "a b", "a:b", ""])
def test_a_token_for_what_is_no_name_is_refused(shell: Shell, name: str) -> None:
    assert shell("token", name).exit_code == 2


def test_a_service_for_other_machines_needs_tokens(shell: Shell) -> None:
    result = shell("serve", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "PLATFORM_API_TOKENS" in result.stderr


def test_the_service_has_the_port_of_the_runbook(shell: Shell) -> None:
    """SC-1."""
    assert "[default: 4020]" in " ".join(shell("serve", "--help").stdout.split())
