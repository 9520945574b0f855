"""`pipeline-platform db`: what the database is busy with, who waits for whom, and its indexes."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import Limit, parse_duration
from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, plain_failures, services
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.warehouse.activity import (
    blocked_sessions,
    cancel_queries,
    end_sessions,
    foreign_queries,
    idle_sessions,
)
from pipeline_platform.warehouse.index_bloat import index_use, rebuild_bloated
from pipeline_platform.warehouse.operator_actions import Action, audited, command_line_actor
from pipeline_platform.warehouse.reports import slow_queries
from pipeline_platform.warehouse.statements import slowest_statements

app = typer.Typer(help="The database at work: slow queries, locks that are waited for, indexes.")
MOST_CHARACTERS = 200


@app.command()
def slow(
    at_least: Annotated[
        timedelta,
        typer.Option("--for", parser=parse_duration, metavar="90s|5m|2h|7d", help="At least."),
    ] = timedelta(minutes=5),
    as_json: AsJson = False,
) -> None:
    """List the queries that have been at work for long, longest first (SA-58); exit code 1 if any.

    Sessions that are idle are none. `SELECT pg_cancel_backend(PID)` ends one.
    """
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        found = slow_queries(connection, minutes=at_least / timedelta(minutes=1))
        rows = [
            {
                "pid": one["pid"],
                "seconds": round(one["duration_seconds"], 1),
                "user": one["user_name"],
                "database": one["database_name"],
                "waits for": one["waits_for"],
                "query": _short(one["query"], as_json=as_json),
            }
            for one in found
        ]
        show_rows(f"At work for {at_least} or more", rows, as_json=as_json, empty="nothing.")
    raise typer.Exit(FOUND_FAULTS if rows else 0)


@app.command()
def locks(as_json: AsJson = False) -> None:
    """List who waits for a lock and who holds it, longest wait first (SA-59); exit code 1 if any.

    `SELECT pg_terminate_backend(PID)` ends a holder that nobody needs; its work is rolled back.
    """
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        rows = [
            {
                "blocked": one["blocked_pid"],
                "waits (s)": round(one["waits_seconds"], 1),
                "lock": one["lock"],
                "on": one["object"],
                "its query": _short(one["blocked_query"], as_json=as_json),
                "holder": one["blocker_pid"],
                "holder is": one["blocker_state"],
                "holder's user": one["blocker_user"],
                "for (s)": None
                if one["blocker_seconds"] is None
                else round(one["blocker_seconds"], 1),
                "holder's query": _short(one["blocker_query"], as_json=as_json),
            }
            for one in blocked_sessions(connection)
        ]
        show_rows("Waiting for a lock", rows, as_json=as_json, empty="nobody.")
    raise typer.Exit(FOUND_FAULTS if rows else 0)


@app.command()
def statements(limit: Limit = 10, as_json: AsJson = False) -> None:
    """List the statements with the slowest mean, as the server counted them (SP-40).

    It must have pg_stat_statements; the embedded one has not.
    """
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        rows = [
            {**one, "statement": _short(one["statement"], as_json=as_json)}
            for one in slowest_statements(connection, limit)
        ]
        show_rows("Slowest statements", rows, as_json=as_json, empty="none was counted.")


@app.command()
def indexes(as_json: AsJson = False) -> None:
    """List the indexes of the schema public, the most used first; partitions count for parents.

    (SA-37.) `guards` are those of keys and unique constraints, which are needed unused.
    """
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        rows = [asdict(one) for one in index_use(connection)]
        show_rows("Indexes", rows, as_json=as_json, empty="none.")


@app.command()
def reindex(
    table: Annotated[str, typer.Argument(help="A table, with all its partitions.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rebuild nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild the indexes of a table that are more than half air, beside readers (SA-38).

    Weekly maintenance does it for performance_data. Small ones (10 MB) are left alone; what killed
    rebuilds left is dropped.
    """
    with plain_failures(), services() as opened:
        with acting(opened, "reindex", table, dry_run=dry_run) as action:
            done = list(rebuild_bloated(opened.database, table, dry_run=dry_run))
            action.state_before = {one.index_name: one.bytes_before for one in done}
            action.state_after = {one.index_name: one.bytes_after for one in done}
        rows = [asdict(one) for one in done]
        title = "Would be rebuilt" if dry_run else "Rebuilt"
        show_rows(title, rows, as_json=as_json, empty="no index needs it.")


@app.command()
def end(
    idle_for: Annotated[
        timedelta | None,
        typer.Option(parser=parse_duration, metavar="90s|5m|2h", help="Sessions idle for so long."),
    ] = None,
    running_for: Annotated[
        timedelta | None,
        typer.Option(parser=parse_duration, metavar="90s|5m|2h", help="Queries at work so long."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would end; end nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End what others let lie in the database: idle sessions, or queries that run away.

    A query is cancelled and its session stays; an idle session is closed. What was not committed
    is rolled back. The platform's own sessions are left alone.
    """
    with plain_failures(), services() as opened:
        if (idle_for is None) == (running_for is None):
            raise BadInputError("Give one of --idle-for and --running-for.")
        with opened.database.connection() as connection:
            if idle_for is not None:
                found, finish = idle_sessions(connection, idle_for), end_sessions
            else:
                found, finish = (
                    foreign_queries(connection, running_for or timedelta(0)),
                    cancel_queries,
                )
            if not dry_run and found:
                pids = [one["pid"] for one in found]
                what = "end sessions" if idle_for is not None else "cancel queries"
                action = Action(command_line_actor(), what, ", ".join(map(str, pids)), None, None)
                with audited(opened.database, action):
                    finish(connection, pids)
        rows = [
            {
                "pid": one["pid"],
                "seconds": round(one["seconds"], 1),
                "user": one["user_name"],
                "database": one["database_name"],
                "client": one["client"],
                "query": _short(one["query"], as_json=as_json),
            }
            for one in found
        ]
        show_rows("Would end" if dry_run else "Ended", rows, as_json=as_json, empty="nothing.")


def _short(query: str | None, *, as_json: bool) -> str | None:
    if query is None or as_json:
        return query
    line = " ".join(query.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}…"
