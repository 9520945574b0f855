"""From findings to messages that were delivered: one round after the other, each safe to kill.

A round reads what is new, keeps faults, incidents and the messages about them in one transaction
together with the position that it read to, then gives each message its words and its recipients,
then sends. What a killed round left is done by the next. A message is sent again only if the
process died between sending and noting it: at least once, with a key by which channels that know
keys drop the copy.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from pipeline_platform.failures import BadInputError, UnavailableError
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.changes import LAKE_SECONDS, changes_since_green
from pipeline_platform.operations.channels import (
    Message,
    channel_addresses,
    problem_of,
    recipient_of,
    send,
)
from pipeline_platform.operations.faults import Finding, after, greens
from pipeline_platform.operations.incident_figures import expected_green
from pipeline_platform.operations.incident_words import (
    SHOWN_CHARACTERS,
    Changes,
    DryRun,
    body_of,
    digest_of,
    shortened,
    title_of,
)
from pipeline_platform.operations.incidents import (
    Event,
    Incident,
    Judgement,
    alerting_of,
    escalates_at,
    judge,
    release,
)
from pipeline_platform.operations.plan import alertings
from pipeline_platform.operations.platform_states import present_state, remember_state
from pipeline_platform.quality.thresholds import Remedy
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Alerting
from pipeline_platform.services import Services
from pipeline_platform.warehouse.database import Connection

MAX_ATTEMPTS = 8
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=15)
DELIVERIES_PER_ROUND = 50
DRY_RUN_SECONDS = 20
SECONDS_PER_ROUND = 40
"""Dagster ends a sensor's evaluation after 60 seconds; what is left is the next round's."""
LOCK = "pipeline_platform.alerts"
"""The advisory lock that one round holds."""


@dataclass(frozen=True)
class Reading:
    """What is new: findings in order, up to which event of each kind, and whether that is all."""

    findings: tuple[Finding, ...]
    reached: Mapping[str, int]
    is_complete: bool


Read = Callable[[Mapping[str, int], datetime], Reading]
"""Reads what is new behind positions, as of an instant."""
RunCommand = Callable[[str], DryRun]
"""Runs a command of the command line and returns what it said."""


@dataclass(frozen=True)
class Round:
    """What one round did; `is_alone` is False where another one was at work."""

    is_alone: bool = True
    findings: int = 0
    opened: int = 0
    resolved: int = 0
    delivered: int = 0
    failed: int = 0

    def in_words(self) -> str:
        """Say what it did in one sentence."""
        if not self.is_alone:
            return "Another round is at work."
        return (
            f"{self.findings} findings, {self.opened} incidents opened, {self.resolved} resolved, "
            f"{self.delivered} messages delivered, {self.failed} attempts failed."
        )


@dataclass
class Router:
    """Rounds over one platform's incidents; everything that is not the database is passed in."""

    services: Services
    clock: Callable[[], datetime] = utc_now
    run_command: RunCommand | None = None

    def round(self, read: Read) -> Round:
        """Do one round: read, judge, give words, send."""
        ends_at = time.monotonic() + SECONDS_PER_ROUND
        with self._alone() as is_alone:
            if not is_alone:
                return Round(is_alone=False)
            done = self._judge(read, ends_at)
            self._release(ends_at)
            delivered, failed = self._deliver(ends_at)
            return replace(done, delivered=delivered, failed=failed)

    def round_when_free(self, read: Read) -> Round:
        """Do one round after those that are under way; UnavailableError if they do not end.

        For who has findings of its own: nobody else would bring them.
        """
        for _ in range(2 * SECONDS_PER_ROUND):
            done = self.round(read)
            if done.is_alone:
                return done
            time.sleep(1)
        raise UnavailableError(
            f"Rounds of alerts were under way for {2 * SECONDS_PER_ROUND} seconds; try again."
        )

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the lock of rounds; PostgreSQL takes it from a process that dies."""
        with self.services.database.connection() as connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (LOCK,)
            ).fetchone()
            connection.commit()
            is_alone = bool(row and row[0])
            try:
                yield is_alone
            finally:
                if is_alone:
                    connection.execute(
                        "SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (LOCK,)
                    )
                    connection.commit()

    def _judge(self, read: Read, ends_at: float) -> Round:
        """Read until nothing is new, and judge only then: what was mended meanwhile is quiet."""
        found, is_complete = 0, False
        judged = Judgement((), (), ())
        while not is_complete and time.monotonic() < ends_at:
            now = self.clock()
            with self.services.database.transaction() as connection:
                position = store.positions(connection)
                reading = read(position, now)
                is_complete = reading.is_complete
                found += len(reading.findings)
                open_ones = store.unresolved(connection)
                known = store.faults(connection)
                faults = after(known, reading.findings)
                before = Judgement(tuple(open_ones), tuple(known.values()), ())
                judged = Judgement(before.incidents, tuple(faults.values()), ())
                if is_complete:
                    judged = judge(judged.incidents, judged.faults, alertings(), now)
                    store.remember_watch(connection, now)
                    remember_state(connection, present_state(self.services.settings), now)
                store.save_judgement(connection, judged, before, now)
                store.save_greens(connection, greens(faults, reading.findings))
                store.save_positions(connection, reading.reached)
                if reading.reached == position and not reading.findings:
                    break
        kinds = [event.kind for event in judged.events]
        return Round(findings=found, opened=kinds.count("opened"), resolved=kinds.count("resolved"))

    def _release(self, ends_at: float) -> None:
        """Give each waiting message its words, recipients and deliveries, as the budget allows."""
        with self.services.database.connection() as connection:
            routes = store.routes_that_wait(connection)
        addresses = channel_addresses(self.services.settings) if routes else {}
        for pipeline, route in routes:
            now = self.clock()
            alerting = alerting_of(alertings(), pipeline)
            budget = alerting.alerts.budget
            with self.services.database.connection() as connection:
                decided = release(
                    store.waiting(connection, pipeline, route),
                    store.released(connection, pipeline, route, now - timedelta(days=budget.days)),
                    store.last_digest(connection, pipeline, route),
                    budget,
                    now,
                )
                singles = store.messages(connection, decided.single)
            for message in singles:
                self._give_words(message, alerting, addresses, now, ends_at)
            if decided.digest:
                with self.services.database.transaction() as connection:
                    lines = store.digest_lines(connection, decided.digest)
                    severity = alerting.route_named(route).severity
                    number = store.add_digest(
                        connection, pipeline, route, severity, decided.digest,
                        digest_of(pipeline, route, lines), now,
                    )  # fmt: skip
                    _address(connection, number, alerting, route, (0,), addresses, now)

    def _give_words(
        self,
        message: store.StoredMessage,
        alerting: Alerting,
        addresses: Mapping[str, SecretStr],
        now: datetime,
        ends_at: float,
    ) -> None:
        assert message.incident_id is not None  # noqa: S101 -- only a digest has none
        with self.services.database.connection() as connection:
            incident = store.incident(connection, message.incident_id)
            dry_run = store.dry_run_of(connection, message.incident_id)
            changes = store.changes_of(connection, message.incident_id)
            expected = expected_green(incident.cause, store.mended_like(connection, incident))
        if changes is None and message.kind != "resolved":
            changes = self._changes(incident, ends_at)
        wants_dry_run = incident.remedy.dry_run is not None and message.kind != "resolved"
        if dry_run is None and wants_dry_run:
            dry_run = self._dry_run(incident.remedy, ends_at)
            with self.services.database.transaction() as connection:
                store.save_dry_run(connection, message.incident_id, dry_run)
        ladder = alerting.route_named(message.route).ladder
        last = min(message.level, len(ladder) - 1)
        levels = tuple(range(last + 1)) if message.kind == "resolved" else (last,)
        told = [alerting.contacts[ladder[level]].title for level in levels]
        with self.services.database.transaction() as connection:
            faults = list(store.faults(connection, message.incident_id).values())
            body = body_of(
                incident,
                message.kind,
                faults,
                told,
                dry_run,
                changes or Changes(None),
                expected,
                escalates_at(incident, alerting),
            )
            store.mark_sent(
                connection, message.message_id, title_of(incident, message.kind), body, now
            )
            reached = _address(
                connection, message.message_id, alerting, message.route, levels, addresses, now
            )
            sentence = (
                f"{message.kind}: {', '.join(told)} by {', '.join(reached)}."
                if reached
                else f"{message.kind}: nobody is told, because no channel of the route "
                f"{message.route} is configured."
            )
            store.add_line(connection, message.incident_id, now, "told", sentence)

    def _changes(self, incident: Incident, ends_at: float) -> Changes:
        """Look for what changed before an incident, once: the next message says the same."""
        assert incident.incident_id is not None  # noqa: S101 -- it is a stored one
        with self.services.database.connection() as connection:
            faults = list(store.faults(connection, incident.incident_id).values())
        has_time = time.monotonic() < ends_at - DRY_RUN_SECONDS - LAKE_SECONDS
        changes = changes_since_green(self.services, incident, faults, has_time=has_time)
        with self.services.database.transaction() as connection:
            store.save_changes(connection, incident.incident_id, changes)
        return changes

    def _dry_run(self, remedy: Remedy, ends_at: float) -> DryRun:
        command = str(remedy.dry_run)
        if time.monotonic() > ends_at - DRY_RUN_SECONDS:
            return DryRun(command, None, "not run, too much happened at once; run it.", 0.0)
        run = self.run_command or CommandLine(self.services)
        return run(command)

    def _deliver(self, ends_at: float) -> tuple[int, int]:
        """Send what is due; return how much was taken, and how many attempts failed."""
        with self.services.database.connection() as connection:
            due = store.due_deliveries(connection, self.clock(), DELIVERIES_PER_ROUND)
        addresses = channel_addresses(self.services.settings) if due else {}
        delivered = 0
        for number, one in enumerate(due):
            if time.monotonic() > ends_at:
                return delivered, number - delivered
            problem = self._send(one, addresses)
            delivered += problem is None
            self._note(one, problem)
        return delivered, len(due) - delivered

    def _send(self, delivery: store.Delivery, addresses: Mapping[str, SecretStr]) -> str | None:
        """Send once; return why it was not taken, if it was not."""
        address = addresses.get(delivery.channel)
        if address is None:
            return f"The channel {delivery.channel!r} is not configured any more."
        try:
            send(delivery.channel, address, delivery.recipient, outgoing(delivery.message))
        except Exception as error:
            return problem_of(error)
        return None

    def _note(self, delivery: store.Delivery, problem: str | None) -> None:
        now = self.clock()
        attempts = delivery.attempts + 1
        is_lost = problem is not None and attempts >= MAX_ATTEMPTS
        with self.services.database.transaction() as connection:
            store.mark_attempt(
                connection,
                delivery.delivery_id,
                state="DELIVERED" if problem is None else "UNDELIVERED" if is_lost else "PENDING",
                now=now,
                next_attempt_at=now + min(FIRST_WAIT * 2 ** (attempts - 1), LONGEST_WAIT),
                reason=problem,
            )
            if delivery.message.incident_id is not None and is_lost:
                store.add_line(
                    connection, delivery.message.incident_id, now, "undelivered",
                    f"{delivery.message.kind}: given up after {attempts} attempts. {problem}",
                )  # fmt: skip


def outgoing(message: store.StoredMessage) -> Message:
    """Return what a channel is given of a stored message."""
    about = f"incident-{message.incident_id}" if message.incident_id else f"digest-{message.route}"
    return Message(
        key=f"{message.pipeline}-message-{message.message_id}",
        incident_key=f"{message.pipeline}-{about}",
        kind=message.kind,
        severity=message.severity,
        title=message.title or "",
        body=message.body or "",
    )


@dataclass(frozen=True)
class CommandLine:
    """Runs a command of the platform in a process of its own, on the same settings."""

    services: Services

    def __call__(self, command: str) -> DryRun:
        """Run it for a bounded time; what it prints is cut, how it ended is told."""
        words = shlex.split(command)
        program = Path(sys.executable).with_name(words[0])
        began = time.monotonic()
        try:
            ended = subprocess.run(
                [str(program), *words[1:]],
                env={**os.environ, **self.services.settings.to_env(), "COLUMNS": "120"},
                capture_output=True,
                text=True,
                timeout=DRY_RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            text = f"it did not end within {DRY_RUN_SECONDS} s."
            return DryRun(command, None, text, DRY_RUN_SECONDS)
        except OSError as error:
            return DryRun(command, None, f"it can't be run ({type(error).__name__}).", 0.0)
        said = "\n".join([ended.stdout.strip(), ended.stderr.strip()]).strip()
        seconds = round(time.monotonic() - began, 1)
        return DryRun(command, ended.returncode, shortened(said, SHOWN_CHARACTERS), seconds)


def _address(
    connection: Connection,
    message_id: int,
    alerting: Alerting,
    route: str,
    levels: tuple[int, ...],
    addresses: Mapping[str, SecretStr],
    now: datetime,
) -> list[str]:
    """Note every delivery of a message; return the channels that are configured."""
    declared = alerting.route_named(route)
    for channel in declared.channels:
        for level in levels:
            contact = alerting.contacts[declared.ladder[level]]
            address = addresses.get(channel)
            recipient = "" if address is None else recipient_of(address, contact)
            state = "NOT_CONFIGURED" if address is None else "PENDING"
            store.add_delivery(connection, message_id, channel, recipient, state, now)
    return [channel for channel in declared.channels if channel in addresses]


def trial_message(pipeline: str, route: str) -> Message:
    """Return what `alerts test` sends through a route."""
    return Message(
        key=f"{pipeline}-{route}-test-{time.time_ns()}",
        incident_key=f"{pipeline}-{route}-test",
        kind="test",
        severity="info",
        title=f"[TEST] {pipeline}: the route {route} works",
        body="Nothing happened. This is what `pipeline-platform alerts test` sends.",
    )


def acknowledge(services: Services, incident_id: int, person: str, now: datetime) -> Incident:
    """Note that somebody works on an incident: it is not escalated any more.

    Raises NotFoundError for no such incident, BadInputError for one that is resolved.
    """
    with services.database.transaction() as connection:
        incident = store.incident(connection, incident_id, is_to_change=True)
        if incident.state == "RESOLVED":
            raise BadInputError(f"Incident {incident_id} is resolved already.")
        if incident.state == "ACKNOWLEDGED":
            return incident
        changed = replace(
            incident, state="ACKNOWLEDGED", acknowledged_at=now, acknowledged_by=person
        )
        store.save_incident(connection, changed)
        store.add_line(connection, incident_id, now, "acknowledged", f"{person} works on it.")
        return changed


def note(services: Services, incident_id: int, person: str, text: str, now: datetime) -> None:
    """Add what somebody found or did to an incident's timeline, also after its end (SA-70).

    Raises NotFoundError for no such incident.
    """
    with services.database.transaction() as connection:
        store.incident(connection, incident_id, is_to_change=True)
        store.add_line(connection, incident_id, now, "note", f"{person}: {text}")


def resolve(services: Services, incident_id: int, person: str, reason: str, now: datetime) -> None:
    """Close an incident by hand: what is still broken of it is set aside until it breaks anew.

    Whoever was told of it is told of the end. Raises NotFoundError or BadInputError.
    """
    with services.database.transaction() as connection:
        incident = store.incident(connection, incident_id, is_to_change=True)
        if incident.state == "RESOLVED":
            raise BadInputError(f"Incident {incident_id} is resolved already.")
        faults = store.faults(connection, incident_id)
        set_aside = [
            replace(one, state="DISMISSED", changed_at=now) if one.state == "RED" else one
            for one in faults.values()
        ]
        sentence = f"{person}: {reason}"
        changed = replace(
            incident,
            state="RESOLVED",
            resolved_at=now,
            resolution=sentence,
            resolved_by=person,
        )
        event = Event(incident.pipeline, incident.cause, "resolved", now, sentence)
        before = Judgement((incident,), tuple(faults.values()), ())
        judged = Judgement((changed,), tuple(set_aside), (event,))
        store.save_judgement(connection, judged, before, now)
