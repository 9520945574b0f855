"""Whoever changes something by a command is recorded: who, when, what, how it ended (XC-10)."""

import getpass
import inspect
import sys
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperGroup

from pipeline_platform.cli import app
from tests.integration.commands.conftest import Shell

DONE = {
    ("landing", "ingest"): ("ingest", "advisory_performance"),
    ("partitions", "process"): ("process", "advisory_performance web_events"),
    ("maintenance", "run", "advisory"): ("maintain", "advisory_performance"),
    ("maintenance", "drain"): ("drain", "default partitions"),
    ("optimize", "valuations"): ("optimize", "advisory_performance/silver/valuations, compaction"),
    ("retention", "--apply"): ("retain", "every place"),
    ("backup", "prune"): ("prune backups", "platform"),
    ("db", "reindex", "performance_data"): ("reindex", "performance_data"),
    ("quarantine", "replay", "--pipeline", "web"): ("replay", "web_events everything held"),
}
WHY = ("--reason", "a test")
REFUSED = {
    ("landing", "withdraw", "ff", *WHY): ("withdraw", "advisory_performance ff"),
    ("landing", "reread", "ff"): ("reread", "advisory_performance ff"),
    ("quarantine", "discard", "7", *WHY): ("discard", "advisory_performance 7"),
    ("incidents", "acknowledge", "7"): ("acknowledge", "incident 7"),
    ("incidents", "note", "7", "text"): ("note", "incident 7"),
    ("incidents", "resolve", "7", *WHY): ("resolve", "incident 7"),
    ("web", "relabel", "publish", "r-7"): ("publish proposal", "r-7"),
    ("web", "relabel", "discard", "r-7"): ("discard proposal", "r-7"),
}
DRY = [
    ("maintenance", "run", "advisory", "--dry-run"),
    ("maintenance", "drain", "--dry-run"),
    ("optimize", "valuations", "--dry-run"),
    ("retention", "--dry-run"),
    ("backup", "prune", "--dry-run"),
    ("db", "reindex", "performance_data", "--dry-run"),
    ("quarantine", "replay", "--dry-run"),
]
ACTS = {
    *("landing ingest", "landing withdraw", "landing reread", "partitions process"),
    *("partitions reconcile", "marts build", "quarantine replay", "quarantine discard"),
    *("incidents acknowledge", "incidents note", "incidents resolve"),
    *(
        "web relabel publish",
        "web relabel discard",
        "maintenance run",
        "maintenance drain",
        "optimize",
        "retention",
    ),
    *("backup create", "backup prune", "restore", "undo", "rerun", "run end", "db end"),
    *("db reindex", "pipelines stop", "pipelines resume", "pipelines execute"),
}
"""Commands that change what the platform holds or does."""
ACTS_ELSEWHERE = {
    "recover": "its own record has who began it and each step; the database may be lost",
    "landing put": "a delivery, as any vendor makes one",
    "backup copy": "works without the database",
    "backup table": "writes a copy that nobody reads by itself",
    "drill": "works in a scratch place",
    "web relabel propose": "nobody sees a proposal before it is published; it keeps what made it",
    "alerts send": "every message is kept with its incident",
    "alerts test": "changes nothing but the reader's inbox",
    "cloudwatch apply": "AWS's own audit trail has it",
    "cloudwatch publish": "figures only",
    "lineage send": "what was told is remembered with it",
    "cost": "each reading is kept",
    "capacity": "an incident that it opens is kept",
    "security review": "each review is kept",
    "check": "each verdict is kept",
    "mutations": "each verdict is kept",
    "dbt-operation": "a look, or a refresh that changes no row",
    "demo": "fills a platform of its own",
    **dict.fromkeys(["database start", "database stop", "database migrate"], "no database yet"),
    **dict.fromkeys(["dev", "daemon", "serve", "token", "generate"], "starts or writes for one"),
}
"""Commands that write something and are recorded otherwise, or need no record, and why."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, new_database) -> Shell:
    return Shell(tmp_path_factory.mktemp("audited"), new_database())


def actions(shell: Shell) -> list[tuple[str, ...]]:
    with shell.services() as services, services.database.connection() as connection:
        return connection.execute(
            "SELECT actor, action, target, result FROM operator_actions ORDER BY action_id"
        ).fetchall()


def recorded(shell: Shell, arguments: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return what one more command added to the record."""
    before = len(actions(shell))
    shell(*arguments)
    return actions(shell)[before:]


@pytest.mark.parametrize("arguments", DONE, ids=" ".join)
def test_what_was_done_is_recorded(platform: Shell, arguments: tuple[str, ...]) -> None:
    me = f"cli:{getpass.getuser()}"
    assert recorded(platform, arguments) == [(me, *DONE[arguments], "done")]


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_was_refused_is_recorded(platform: Shell, arguments: tuple[str, ...]) -> None:
    me = f"cli:{getpass.getuser()}"
    assert recorded(platform, arguments) == [(me, *REFUSED[arguments], "refused")]


@pytest.mark.parametrize("arguments", DRY, ids=" ".join)
def test_a_dry_run_is_no_action(platform: Shell, arguments: tuple[str, ...]) -> None:
    assert recorded(platform, arguments) == []


def test_the_state_before_and_after_is_recorded(shell: Shell, tmp_path) -> None:
    (tmp_path / "unknown.csv").write_text("a,b")
    shell("landing", "put", str(tmp_path / "unknown.csv"))
    shell("landing", "ingest")
    with shell.services() as services, services.database.connection() as connection:
        row = connection.execute(
            "SELECT state_before, state_after FROM operator_actions WHERE action = 'ingest'"
        ).fetchone()
    assert row == ({"waiting": 1}, {"quarantined": 1})


# --- no command is forgotten ---------------------------------------------------------------------


def leaves(group: TyperGroup, name: str = "") -> Iterator[tuple[str, object]]:
    for word, command in group.commands.items():
        full = f"{name} {word}".strip()
        if isinstance(command, TyperGroup):
            yield from leaves(command, full)
        else:
            yield full, command.callback


COMMANDS = dict(leaves(typer.main.get_command(app)))
WRITES = ("acting(", "audited(")


def records(callback: object) -> bool:
    module = sys.modules[inspect.unwrap(callback).__module__]
    return any(word in inspect.getsource(module) for word in WRITES)


@pytest.mark.parametrize("name", sorted(ACTS))
def test_a_command_that_changes_something_records_it(name: str) -> None:
    assert records(COMMANDS[name])


def test_every_command_that_has_a_dry_run_or_a_reason_is_thought_of() -> None:
    changing = {
        name
        for name, callback in COMMANDS.items()
        if {"dry_run", "apply", "reason", "go"} & inspect.signature(callback).parameters.keys()
    }
    assert changing - ACTS - ACTS_ELSEWHERE.keys() == set()


def test_only_commands_that_exist_are_named() -> None:
    assert (ACTS | ACTS_ELSEWHERE.keys()) - COMMANDS.keys() == set()
