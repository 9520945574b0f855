"""`web relabel`: propose, look, then publish or throw away."""

import pytest

from tests.integration.commands.conftest import Shell
from tests.integration.web_events.event_files import DAY, silver
from tests.integration.web_events.relabelled import BEFRIENDED, process, run_with


@pytest.fixture
def relabelled(shell: Shell) -> Shell:
    """A platform whose events were labelled while a client was a friend that no longer is."""
    with shell.services() as services:
        process(run_with(services, BEFRIENDED))
    return shell


def test_a_proposal_is_made_listed_shown_and_published(relabelled: Shell) -> None:
    made = relabelled.json("web", "relabel", "propose")
    identity = made["proposal_id"]
    (listed,) = relabelled.json("web", "relabel", "list")
    assert (listed["proposal"], listed["state"], listed["events that change sides"]) == (
        identity,
        "ready",
        3,
    )
    assert relabelled.json("web", "relabel", "show", identity)["report"] == made["report"]
    published = relabelled.json("web", "relabel", "publish", identity)
    assert (published["days published"], published["days requested"]) == (2, 1)
    with relabelled.services() as services:
        assert ("library/python",) in silver(services, "bot_rule_id")


def test_what_changes_is_shown_as_tables(relabelled: Shell) -> None:
    shown = relabelled("web", "relabel", "propose", "--only", "labels", "--from", str(DAY))
    assert shown.exit_code == 0
    assert [
        title
        for title in ("Bots by day", "Bots by rule", "Agents that change sides", "Marts: figures")
        if title not in shown.stdout
    ] == []
    assert "friend:acme" in shown.stdout


def test_a_proposal_is_thrown_away(relabelled: Shell) -> None:
    identity = relabelled.json("web", "relabel", "propose", "--only", "labels")["proposal_id"]
    assert relabelled("web", "relabel", "discard", identity).exit_code == 0
    refused = relabelled("web", "relabel", "publish", identity)
    assert (refused.exit_code, "thrown away" in refused.stderr) == (2, True)


def test_an_unknown_proposal_is_wrong_use(shell: Shell) -> None:
    assert shell("web", "relabel", "show", "relabel-0").exit_code == 2
