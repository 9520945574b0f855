"""`operator_actions`: who did what, when, from where, and how it ended (XC-10)."""

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from pipeline_platform.failures import PermanentError
from pipeline_platform.warehouse.database import Database

Connection = psycopg.Connection[Any]
Result = Literal["begun", "done", "refused", "failed"]


@dataclass
class Action:
    """One thing that somebody does; what it changed is filled in while it is done."""

    actor: str
    action: str
    target: str
    client_address: str | None = None
    reason: str | None = None
    state_before: Mapping[str, object] | None = None
    state_after: Mapping[str, object] | None = None


def command_line_actor() -> str:
    """Return who acts by a command: the user of this process."""
    return f"cli:{getpass.getuser()}"


@contextmanager
def audited(database: Database, action: Action) -> Iterator[Action]:
    """Record an action before it is done, and afterwards how it ended, whatever happens.

    What a PermanentError ended was refused; any other error is a failure.
    """
    with database.transaction() as connection:
        number = record_action(connection, action, "begun")
    try:
        yield action
    except PermanentError as error:
        _end(database, number, action, "refused", str(error))
        raise
    except Exception as error:
        _end(database, number, action, "failed", type(error).__name__)
        raise
    _end(database, number, action, "done", None)


def record_action(conn: Connection, action: Action, result: Result) -> int:
    """Write one action down and return its number."""
    row = conn.execute(
        """
        INSERT INTO operator_actions (
            actor, action, target, client_address, result, reason, state_before, state_after
        ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING action_id
        """,
        (
            action.actor,
            action.action,
            action.target,
            action.client_address,
            result,
            action.reason,
            _json(action.state_before),
            _json(action.state_after),
        ),
    ).fetchone()
    assert row is not None  # noqa: S101 -- an insert returns its row
    return int(row[0])


def _end(database: Database, number: int, action: Action, result: Result, why: str | None) -> None:
    with database.transaction() as connection:
        connection.execute(
            "UPDATE operator_actions SET result = %s, state_before = %s, state_after = %s,"
            " reason = coalesce(%s, reason) WHERE action_id = %s",
            (result, _json(action.state_before), _json(action.state_after), why, number),
        )


def _json(state: Mapping[str, object] | None) -> Jsonb | None:
    return None if state is None else Jsonb(dict(state))
