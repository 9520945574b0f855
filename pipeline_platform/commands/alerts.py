"""`pipeline-platform alerts`: whether messages reach anybody, and sending what waits."""

from collections.abc import Mapping
from typing import Annotated

import typer
from pydantic import SecretStr

from pipeline_platform.commands.arguments import one_of
from pipeline_platform.commands.code_location import code_location
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    TRY_AGAIN,
    AsJson,
    console,
    errors,
    plain_failures,
    services,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import Router, trial_message
from pipeline_platform.operations.channels import (
    channel_addresses,
    problem_of,
    recipient_of,
    send,
)
from pipeline_platform.operations.event_log import EventLog
from pipeline_platform.operations.health_watch import HealthWatch, with_findings
from pipeline_platform.operations.outage import end_outage, is_answering, tell_of_outage
from pipeline_platform.operations.plan import alertings
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Alerting
from pipeline_platform.settings import Settings

app = typer.Typer(
    help="Messages about incidents: whether they arrive, and sending what waits.",
    no_args_is_help=True,
)
DELIVERED = "delivered"


@app.command("test")
def try_routes(
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline's routes.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a test message through every channel of every route (XC-3).

    Each goes to the first contact of the route's ladder. Exit code 1 if a channel is not
    configured or did not take it.
    """
    with plain_failures():
        chosen = alertings()
        if pipeline is not None:
            name = one_of(pipeline, chosen)
            chosen = {name: chosen[name]}
        addresses = channel_addresses(Settings.from_env())
        rows = [
            _tried(alerting, route, channel, addresses, dry_run=dry_run)
            for alerting in chosen.values()
            for route in alerting.routes
            for channel in alerting.routes[route].channels
        ]
        show_rows("Routes", rows, as_json=as_json)
    wanted = "would be sent" if dry_run else DELIVERED
    raise typer.Exit(0 if all(row["result"] == wanted for row in rows) else FOUND_FAULTS)


@app.command("send")
def send_now(
    again: Annotated[
        bool, typer.Option("--again", help="Also what was given up after too many attempts.")
    ] = False,
) -> None:
    """Do one round as the sensor does: judge what is new, send what waits.

    If the database does not answer, the routes of `alerts.database` are told, once for each
    contact of the ladder; exit code 75. Let something outside of this machine's Dagster call it.
    """
    with plain_failures():
        settings = Settings.from_env()
        if not is_answering(settings):
            for problem in tell_of_outage(settings, alertings(), utc_now()):
                errors.print(problem, markup=False)
            errors.print("The database does not answer.", style="yellow")
            raise typer.Exit(TRY_AGAIN)
    with code_location() as location:
        for problem in end_outage(location.services, alertings(), utc_now()):
            errors.print(problem, markup=False)
        if again:
            with location.services.database.transaction() as connection:
                count = store.retry_undelivered(connection, utc_now())
            errors.print(f"{count} deliveries that were given up are tried again.")
        log = EventLog(location.instance, location.graph, alertings())
        found = HealthWatch(location.services, location.instance).look()
        done = Router(location.services).round(with_findings(log.read, found))
        console.print(done.in_words(), highlight=False)
    raise typer.Exit(FOUND_FAULTS if done.failed else 0)


@app.command("deliveries")
def deliveries(
    incident: Annotated[int, typer.Argument(help="The incident's number.")], as_json: AsJson = False
) -> None:
    """Show who was told of an incident on which channel; exit code 1 if somebody was not."""
    with plain_failures(), services() as opened:
        with opened.database.connection() as connection:
            store.incident(connection, incident)
            rows = store.deliveries(connection, incident)
        show_rows(f"Deliveries of incident {incident}", rows, as_json=as_json, empty="none.")
    raise typer.Exit(0 if all(row["state"] == "DELIVERED" for row in rows) else FOUND_FAULTS)


def _tried(
    alerting: Alerting,
    route: str,
    channel: str,
    addresses: Mapping[str, SecretStr],
    *,
    dry_run: bool,
) -> dict[str, object]:
    contact = alerting.contacts[alerting.routes[route].ladder[0]]
    address = addresses.get(channel)
    recipient = "" if address is None else recipient_of(address, contact)
    result = "not configured"
    if address is not None and dry_run:
        result = "would be sent"
    elif address is not None:
        try:
            send(channel, address, recipient, trial_message(alerting.pipeline, route))
            result = DELIVERED
        except Exception as error:
            result = problem_of(error)
    return {
        "pipeline": alerting.pipeline,
        "route": route,
        "channel": channel,
        "contact": contact.title,
        "recipient": recipient or None,
        "result": result,
    }
