"""`pipeline-platform diagnose`: an outage on one page, from connectivity to whom to call."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import one_of
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.errors import Since, errors_of
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, plain_failures
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.doctor import Examined, examine
from pipeline_platform.operations.health import Probes
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.operations.plan import alertings, runbooks
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Alerting
from pipeline_platform.settings import Settings

Row = Mapping[str, object]
TWO_HOURS = timedelta(hours=2)
MOST_ERRORS = 10
TITLES = {
    "connectivity": "Layers that fail on the way to the services",
    "health": "Dependencies of the platform that do not work",
    "alarms": "Open incidents",
    "logs": "What went wrong lately",
    "call": "Whom to call",
}


def diagnose(
    pipeline: Annotated[str, typer.Argument(help="Its name or the beginning of it.")],
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Look at an outage: connectivity, health, alarms, errors of two hours, whom to call (SA-65).

    Exit code 1 if anything is not well. While the database can't be used, what is kept in it is
    left out; the rest is shown.
    """
    with plain_failures():
        name = one_of(pipeline, alertings())
        examined = list(examine(Settings.from_env(), [one for one in runbooks() if one == name]))
        found = {"connectivity": [_layer(one) for one in examined if not one.layer.is_ok]}
    if not any(one.service == "database" and not one.layer.is_ok for one in examined):
        with code_location() as location:
            found |= _stored(location, name, since or utc_now() - TWO_HOURS)
    is_well = not any(found.values())
    found["call"] = list(_contacts(alertings()[name]))
    if as_json:
        show_rows("", [{"pipeline": name, "is_well": is_well, **found}], as_json=True)
    else:
        for part, title in TITLES.items():
            empty = "none." if part in found else "the database can't be asked."
            show_rows(title, found.get(part, []), as_json=False, empty=empty)
    raise typer.Exit(0 if is_well else FOUND_FAULTS)


def _stored(location: CodeLocation, pipeline: str, since: datetime) -> dict[str, list[Row]]:
    """Ask what the database knows: dependencies, open incidents, errors."""
    probes = Probes(location.services, location.instance, runbooks())
    dependencies = probes.report().dependencies
    probes.close()
    with location.services.database.connection() as connection:
        incidents = store.incidents(connection, pipeline=pipeline, is_open=True, limit=50)
    return {
        "health": [
            {"dependency": name, "why": one.reason}
            for name, one in dependencies.items()
            if one.status != "ok"
        ],
        "alarms": [_incident(one) for one in incidents],
        "logs": errors_of(location, since, pipeline)[:MOST_ERRORS],
    }


def _layer(one: Examined) -> Row:
    return {"service": one.service, "layer": one.layer.name, "why": one.layer.detail}


def _incident(one: Incident) -> Row:
    return {
        "incident": one.incident_id,
        "severity": one.severity,
        "state": one.state,
        "what": one.cause,
        "command": one.remedy.command,
    }


def _contacts(alerting: Alerting) -> Iterator[Row]:
    """Yield who is told on each route, in order of escalation."""
    for name, route in alerting.routes.items():
        people: Sequence[str] = [
            f"{contact.title} ({contact.slack}, {contact.email})"
            for contact in (alerting.contacts[one] for one in route.ladder)
        ]
        yield {
            "route": name,
            "severity": route.severity,
            "through": ", ".join(route.channels),
            "first": people[0],
            "then": "; ".join(people[1:]) or None,
        }
