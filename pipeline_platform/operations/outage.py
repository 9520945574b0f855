"""When the database does not answer: who is told, although nothing can be kept in it (SA-89).

Everything else about incidents is in the database, and Dagster's daemon needs it, too. So a file in
the platform's home remembers who was told, and a command that something outside starts (cron,
systemd) looks. When the database answers again, the outage becomes an incident like any other.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import psycopg

from pipeline_platform.failures import UnavailableError
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.channels import (
    Message,
    channel_addresses,
    problem_of,
    recipient_of,
    send,
)
from pipeline_platform.operations.health_periods import remember_outage
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.quality.thresholds import Remedy
from pipeline_platform.recovery.backups import is_ours
from pipeline_platform.runbook import Alerting
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.database import database_url

CONNECT_SECONDS = 5
CAUSE = "database"
TITLE = "The database does not answer; nothing can be taken in, computed or served."


@dataclass(frozen=True)
class Outage:
    """Since when the database is away, and whom of one pipeline's route was told last, and when."""

    pipeline: str
    began_at: datetime
    level: int = -1
    told_at: datetime | None = None


def is_answering(settings: Settings) -> bool:
    """Tell whether the database takes a connection.

    An embedded one that was stopped, or never ran, is started; one that was killed is an outage:
    why it was is for a person to find out.
    """
    if is_ours(settings) and embedded.was_killed(settings):
        return False
    try:
        with psycopg.connect(database_url(settings), connect_timeout=CONNECT_SECONDS):
            return True
    except (UnavailableError, psycopg.OperationalError):
        return False


def tell_of_outage(
    settings: Settings, alertings: Mapping[str, Alerting], now: datetime
) -> list[str]:
    """Tell the next contact of each route of `alerts.database` whose turn it is; return problems.

    Who was told stays noted until the end, so that calling it every minute tells nobody twice. A
    contact whom no channel reached is tried again by the next call.
    """
    outages = _noted(settings)
    problems: list[str] = []
    for pipeline, alerting in alertings.items():
        if alerting.alerts.database is None:
            continue
        known = outages.get(pipeline) or Outage(pipeline, now)
        if _is_due(known, alerting, now):
            kind: Literal["opened", "escalated"] = "opened" if known.level < 0 else "escalated"
            reached = _send(settings, alerting, known, kind, (known.level + 1,), problems)
            if reached:
                known = replace(known, level=known.level + 1, told_at=now)
        outages[pipeline] = known
        _note(settings, outages)
    return problems


def end_outage(services: Services, alertings: Mapping[str, Alerting], now: datetime) -> list[str]:
    """Tell who was told that the database answers, and keep each outage as an incident.

    Returns problems of sending; does nothing where no outage is noted.
    """
    problems: list[str] = []
    outages = _noted(services.settings)
    for pipeline, outage in list(outages.items()):
        alerting = alertings.get(pipeline)
        if alerting is not None and alerting.alerts.database is not None:
            levels = tuple(range(outage.level + 1))
            _send(services.settings, alerting, outage, "resolved", levels, problems)
            _keep(services, alerting, outage, now)
        del outages[pipeline]
        _note(services.settings, outages)
    return problems


def _is_due(outage: Outage, alerting: Alerting, now: datetime) -> bool:
    route = str(alerting.alerts.database)
    if outage.told_at is None:
        return True
    if outage.level + 1 >= len(alerting.routes[route].ladder):
        return False
    response = alerting.response_minutes(route)
    waits = timedelta(minutes=alerting.waits_minutes(route, outage.level, response))
    return now >= outage.told_at + waits


def _send(
    settings: Settings,
    alerting: Alerting,
    outage: Outage,
    kind: Literal["opened", "escalated", "resolved"],
    levels: tuple[int, ...],
    problems: list[str],
) -> bool:
    """Send to contacts on all channels; return whether one channel took it at least."""
    route = alerting.routes[str(alerting.alerts.database)]
    addresses = channel_addresses(settings)
    remedy = _remedy(alerting)
    told = [alerting.contacts[route.ladder[level]] for level in levels]
    mark = "RESOLVED" if kind == "resolved" else route.severity.upper()
    is_end = kind == "resolved"
    body = (
        f"It answers again. It was away since {outage.began_at:%Y-%m-%d %H:%M} UTC."
        if is_end
        else f"What: {TITLE}\nSince: {outage.began_at:%Y-%m-%d %H:%M} UTC\nTouches: everything\n"
        f"Command: {remedy.command}\nLook first: {remedy.dry_run}\n"
        f"Told: {', '.join(contact.title for contact in told)}"
    )
    incident_key = f"{outage.pipeline}-{CAUSE}-{outage.began_at:%Y%m%dT%H%M%S}"
    message = Message(
        key=f"{incident_key}-{kind}-{max(levels, default=0)}",
        incident_key=incident_key,
        kind=kind,
        severity=route.severity,
        title=f"[{mark}] {outage.pipeline}: {TITLE}",
        body=body,
    )
    is_taken = False
    for channel in route.channels:
        address = addresses.get(channel)
        if address is None:
            problems.append(f"The channel {channel!r} is not configured.")
            continue
        for recipient in dict.fromkeys(recipient_of(address, contact) for contact in told):
            try:
                send(channel, address, recipient, message)
                is_taken = True
            except Exception as error:
                problems.append(problem_of(error))
    return is_taken


def _keep(services: Services, alerting: Alerting, outage: Outage, now: datetime) -> None:
    """Write the outage down as a resolved incident, so that figures and post-mortems have it."""
    name = str(alerting.alerts.database)
    route = alerting.routes[name]
    incident = Incident(
        pipeline=outage.pipeline,
        cause=CAUSE,
        title=TITLE,
        severity=route.severity,
        route=name,
        response_minutes=alerting.response_minutes(name),
        remedy=_remedy(alerting),
        began_at=outage.began_at,
        severe_at=outage.began_at,
        opened_at=outage.began_at,
        told_at=outage.told_at or outage.began_at,
        level=max(outage.level, 0),
    )
    ended = replace(
        incident, state="RESOLVED", resolved_at=now, resolution="The database answers again."
    )
    with services.database.transaction() as connection:
        number = store.save_incident(connection, incident)
        store.save_incident(connection, replace(ended, incident_id=number))
        store.add_line(connection, number, outage.began_at, "opened", TITLE)
        store.add_line(connection, number, now, "resolved", "The database answers again.")
        remember_outage(connection, outage.began_at, now)


def _remedy(alerting: Alerting) -> Remedy:
    route = alerting.routes[str(alerting.alerts.database)]
    return route.remedy.filled(pipeline=alerting.pipeline, asset=CAUSE, run="")


def _file(settings: Settings) -> Path:
    return settings.home / "alerts" / "database.json"


def _noted(settings: Settings) -> dict[str, Outage]:
    try:
        stored = json.loads(_file(settings).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {
        one["pipeline"]: Outage(
            one["pipeline"],
            datetime.fromisoformat(one["began_at"]),
            one["level"],
            datetime.fromisoformat(one["told_at"]) if one["told_at"] else None,
        )
        for one in stored
    }


def _note(settings: Settings, outages: Mapping[str, Outage]) -> None:
    """Replace the file as a whole: a process killed here leaves the old or the new one."""
    path = _file(settings)
    if not outages:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(one) for one in outages.values()], default=str), "utf-8")
    fresh.replace(path)
