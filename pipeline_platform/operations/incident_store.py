"""Incidents, faults, messages and deliveries in PostgreSQL; rules are in `incidents`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pipeline_platform.failures import NotFoundError
from pipeline_platform.operations.faults import Days, Fault, Key
from pipeline_platform.operations.incident_figures import Period
from pipeline_platform.operations.incident_words import Changes, DryRun, TimelineLine
from pipeline_platform.operations.incidents import TOLD, Incident, Judgement, WaitingMessage
from pipeline_platform.quality.stored_text import storable
from pipeline_platform.quality.thresholds import Remedy
from pipeline_platform.warehouse.database import Connection

PAST_INCIDENTS = 20
"""From so many of the last ones it is told how long a cause takes."""
GREEN_KEPT = timedelta(days=1)
"""Longer than events are read again, so that an old finding can't break a thing anew."""
WATCH_GAP = timedelta(minutes=5)
"""Two looks that are further apart leave a time in which nobody watched."""
_INCIDENT = (
    "incident_id, pipeline, cause, title, severity, route, response_minutes, remedy, began_at,"
    " severe_at, opened_at, told_at, state, level, acknowledged_at, acknowledged_by, resolved_at,"
    " resolution, resolved_by"
)


@dataclass(frozen=True)
class StoredMessage:
    """A message of the outbox, with what must be known to send it."""

    message_id: int
    pipeline: str
    route: str
    severity: str
    kind: str
    incident_id: int | None
    level: int
    title: str | None
    body: str | None


@dataclass(frozen=True)
class Delivery:
    """One message to one recipient on one channel, and how often it was tried."""

    delivery_id: int
    channel: str
    recipient: str
    attempts: int
    message: StoredMessage


def positions(conn: Connection) -> dict[str, int]:
    """Return up to which event each kind was read."""
    return dict(conn.execute("SELECT event_type, event_id FROM alert_positions").fetchall())


def save_positions(conn: Connection, reached: Mapping[str, int]) -> None:
    """Keep up to which event each kind was read."""
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO alert_positions VALUES (%s, %s)"
            " ON CONFLICT (event_type) DO UPDATE SET event_id = excluded.event_id",
            list(reached.items()),
        )


def remember_watch(conn: Connection, now: datetime) -> None:
    """Lengthen the watched period, or begin one after a gap."""
    lengthened = conn.execute(
        "UPDATE watched_periods SET ended_at = greatest(ended_at, %(now)s) WHERE started_at ="
        " (SELECT max(started_at) FROM watched_periods) AND ended_at >= %(now)s - %(gap)s",
        {"now": now, "gap": WATCH_GAP},
    )
    if lengthened.rowcount == 0:
        conn.execute(
            "INSERT INTO watched_periods VALUES (%(now)s, %(now)s) ON CONFLICT DO NOTHING",
            {"now": now},
        )


def watched_periods(conn: Connection) -> list[Period]:
    """Return when somebody looked."""
    return conn.execute("SELECT started_at, ended_at FROM watched_periods ORDER BY 1").fetchall()


def unresolved(conn: Connection) -> list[Incident]:
    """Return all incidents that are not resolved, the oldest first, and keep others from them."""
    return _incidents(conn, "state <> 'RESOLVED' ORDER BY incident_id FOR UPDATE", {})


def incidents(
    conn: Connection,
    *,
    pipeline: str | None = None,
    is_open: bool | None = None,
    since: datetime | None = None,
    limit: int = 1000,
) -> list[Incident]:
    """Return the latest incidents, newest first; those resolved since an instant, and all open."""
    return _incidents(
        conn,
        "(%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s)"
        " AND (%(open)s::boolean IS NULL OR (state <> 'RESOLVED') = %(open)s)"
        " AND (%(since)s::timestamptz IS NULL OR resolved_at IS NULL OR resolved_at >= %(since)s)"
        " ORDER BY incident_id DESC LIMIT %(limit)s",
        {"pipeline": pipeline, "open": is_open, "since": since, "limit": limit},
    )


def incident(conn: Connection, incident_id: int, *, is_to_change: bool = False) -> Incident:
    """Return one incident; `is_to_change` keeps others from it. Raises NotFoundError."""
    lock = " FOR UPDATE" if is_to_change else ""
    found = _incidents(conn, f"incident_id = %(id)s{lock}", {"id": incident_id})
    if not found:
        raise NotFoundError(
            f"There is no incident {incident_id}; `incidents list --all` shows them."
        )
    return found[0]


def faults(conn: Connection, incident_id: int | None = None) -> dict[Key, Fault]:
    """Return all faults, or those of one incident; a resolved incident is no fault's cause."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            """
            SELECT f.pipeline, f.fault AS name, f.kind, f.subject, f.state, f.severity, f.route,
                f.response_minutes, f.sentence, f.remedy, f.began_at, f.changed_at, f.event_id,
                f.days, f.run_id, f.touches, f.follows_failed_runs, i.cause
            FROM faults f LEFT JOIN incidents i
                ON i.incident_id = f.incident_id AND i.state <> 'RESOLVED'
            WHERE %(id)s::bigint IS NULL OR f.incident_id = %(id)s
            ORDER BY f.began_at, f.pipeline, f.fault
            """,
            {"id": incident_id},
        ).fetchall()
    found = [
        Fault(
            **{
                **row,
                "remedy": Remedy.model_validate(row["remedy"]),
                "touches": tuple(row["touches"]),
                "days": _days(row["days"]),
            }
        )
        for row in rows
    ]
    return {one.key: one for one in found}


def save_faults(
    conn: Connection, known: Iterable[Fault], ids: Mapping[Key, int], now: datetime
) -> None:
    """Write faults as they are, and forget those that were mended long ago."""
    rows = [
        {
            **{one.name: getattr(fault, one.name) for one in fields(fault)},
            "remedy": Jsonb(fault.remedy.model_dump()),
            "touches": Jsonb(list(fault.touches)),
            "sentence": storable(fault.sentence),
            "days": Multirange([Range(first, end) for first, end in fault.days]),
            "incident_id": ids.get((fault.pipeline, fault.cause)) if fault.cause else None,
        }
        for fault in known
    ]
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO faults (pipeline, fault, kind, subject, state, severity, route,
                response_minutes, sentence, run_id, touches, remedy, follows_failed_runs, days,
                began_at, changed_at, event_id, incident_id)
            VALUES (%(pipeline)s, %(name)s, %(kind)s, %(subject)s, %(state)s, %(severity)s,
                %(route)s, %(response_minutes)s, %(sentence)s, %(run_id)s, %(touches)s,
                %(remedy)s, %(follows_failed_runs)s, %(days)s::datemultirange, %(began_at)s,
                %(changed_at)s, %(event_id)s, %(incident_id)s)
            ON CONFLICT (pipeline, fault) DO UPDATE SET kind = excluded.kind,
                subject = excluded.subject, state = excluded.state, severity = excluded.severity,
                route = excluded.route, response_minutes = excluded.response_minutes,
                sentence = excluded.sentence, run_id = excluded.run_id,
                touches = excluded.touches, remedy = excluded.remedy,
                follows_failed_runs = excluded.follows_failed_runs, days = excluded.days,
                began_at = excluded.began_at, changed_at = excluded.changed_at,
                event_id = excluded.event_id,
                incident_id = coalesce(excluded.incident_id,
                    CASE WHEN excluded.state <> 'RED' THEN faults.incident_id END)
            """,
            rows,
        )
    conn.execute(
        "DELETE FROM faults WHERE state = 'GREEN' AND changed_at < %s", (now - GREEN_KEPT,)
    )


def mend_fault(conn: Connection, pipeline: str, name: str, now: datetime) -> None:
    """Note that a command has done what a run failed at; the next round ends what came of it."""
    fault = faults(conn).get((pipeline, name))
    if fault is not None and fault.state == "RED":
        save_faults(conn, [replace(fault, state="GREEN", changed_at=now)], {}, now)


def save_judgement(conn: Connection, judged: Judgement, before: Judgement, now: datetime) -> None:
    """Keep what has changed, the timeline, and a message for whatever somebody is told of."""
    ids: dict[Key, int] = {}
    for one in judged.incidents:
        if one.incident_id is not None and one in before.incidents:
            ids[one.key] = one.incident_id
        else:
            ids[one.key] = save_incident(conn, one)
    by_key = {one.key: one for one in judged.incidents}
    for event in judged.events:
        key = (event.pipeline, event.cause)
        add_line(conn, ids[key], event.at, event.kind, event.sentence)
        if event.kind in TOLD:
            about = by_key[key]
            conn.execute(
                """
                INSERT INTO incident_messages (pipeline, route, severity, kind, incident_id, level,
                    response_minutes, created_at)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
                """,
                (
                    about.pipeline,
                    about.route,
                    about.severity,
                    event.kind,
                    ids[key],
                    about.level,
                    about.response_minutes,
                    event.at,
                ),
            )
    known = {one.key: one for one in before.faults}
    changed = [one for one in judged.faults if known.get(one.key) != one]
    save_faults(conn, changed, ids, now)


def save_incident(conn: Connection, one: Incident) -> int:
    """Write an incident, a new one or a changed one; return its number."""
    values = {
        **{name.name: getattr(one, name.name) for name in fields(one)},
        "remedy": Jsonb(one.remedy.model_dump()),
        "title": storable(one.title),
    }
    if one.incident_id is None:
        statement = """
            INSERT INTO incidents (pipeline, cause, title, severity, route, response_minutes,
                remedy, began_at, severe_at, opened_at, told_at, state, level)
            VALUES (%(pipeline)s, %(cause)s, %(title)s, %(severity)s, %(route)s,
                %(response_minutes)s, %(remedy)s, %(began_at)s, %(severe_at)s, %(opened_at)s,
                %(told_at)s,
                %(state)s, %(level)s)
            RETURNING incident_id
        """
    else:
        statement = """
            UPDATE incidents SET title = %(title)s, severity = %(severity)s, route = %(route)s,
                response_minutes = %(response_minutes)s, remedy = %(remedy)s,
                severe_at = %(severe_at)s, told_at = %(told_at)s, state = %(state)s,
                level = %(level)s,
                acknowledged_at = %(acknowledged_at)s, acknowledged_by = %(acknowledged_by)s,
                resolved_at = %(resolved_at)s, resolution = %(resolution)s,
                resolved_by = %(resolved_by)s,
                dry_run = CASE WHEN remedy = %(remedy)s THEN dry_run END
            WHERE incident_id = %(incident_id)s RETURNING incident_id
        """
    row = conn.execute(statement, values).fetchone()
    assert row is not None  # noqa: S101 -- both statements return the row that they wrote
    return int(row[0])


def add_line(conn: Connection, incident_id: int, at: datetime, kind: str, sentence: str) -> None:
    """Add a line to an incident's timeline."""
    conn.execute(
        "INSERT INTO incident_events (incident_id, happened_at, kind, sentence)"
        " VALUES (%s, %s, %s, %s)",
        (incident_id, at, kind, storable(sentence)),
    )


def timeline(conn: Connection, incident_id: int) -> list[TimelineLine]:
    """Return an incident's timeline, the oldest line first."""
    rows = conn.execute(
        "SELECT happened_at, kind, sentence FROM incident_events WHERE incident_id = %s"
        " ORDER BY incident_event_id",
        (incident_id,),
    ).fetchall()
    return [TimelineLine(*row) for row in rows]


def dry_run_of(conn: Connection, incident_id: int) -> DryRun | None:
    """Return what the dry run of an incident's remedy said, if it was run."""
    row = conn.execute(
        "SELECT dry_run FROM incidents WHERE incident_id = %s", (incident_id,)
    ).fetchone()
    return DryRun(**row[0]) if row and row[0] else None


def save_dry_run(conn: Connection, incident_id: int, dry_run: DryRun) -> None:
    """Keep what the dry run of an incident's remedy said."""
    conn.execute(
        "UPDATE incidents SET dry_run = %s WHERE incident_id = %s",
        (Jsonb({**dry_run.__dict__, "output": storable(dry_run.output)}), incident_id),
    )


def changes_of(conn: Connection, incident_id: int) -> Changes | None:
    """Return what changed before an incident; None before its first message was written."""
    row = conn.execute(
        "SELECT changes FROM incidents WHERE incident_id = %s", (incident_id,)
    ).fetchone()
    if row is None or row[0] is None:
        return None
    since = row[0]["since"]
    return Changes(datetime.fromisoformat(since) if since else None, tuple(row[0]["lines"]))


def save_changes(conn: Connection, incident_id: int, changes: Changes) -> None:
    """Keep what changed before an incident."""
    since = None if changes.since is None else changes.since.isoformat()
    kept = {"since": since, "lines": [storable(line) for line in changes.lines]}
    conn.execute(
        "UPDATE incidents SET changes = %s WHERE incident_id = %s", (Jsonb(kept), incident_id)
    )


def mended_like(conn: Connection, about: Incident) -> list[Incident]:
    """Return the latest incidents that were green again: of the same cause, of the same command."""
    return [
        one
        for same in (
            "cause = %(cause)s",
            "cause <> %(cause)s AND remedy ->> 'command' = %(command)s",
        )
        for one in _incidents(
            conn,
            f"state = 'RESOLVED' AND resolved_by IS NULL AND pipeline = %(pipeline)s AND {same}"
            " ORDER BY incident_id DESC LIMIT %(limit)s",
            {
                "pipeline": about.pipeline,
                "cause": about.cause,
                "command": about.remedy.command,
                "limit": PAST_INCIDENTS,
            },
        )
    ]


def save_greens(conn: Connection, greens: Mapping[Key, datetime]) -> None:
    """Keep when things were seen to work last."""
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO last_greens AS known VALUES (%s, %s, %s) ON CONFLICT (pipeline, fault)"
            " DO UPDATE SET green_at = excluded.green_at WHERE known.green_at < excluded.green_at",
            [(*key, at) for key, at in greens.items()],
        )


def routes_that_wait(conn: Connection) -> list[tuple[str, str]]:
    """Return pipeline and route of every message that was not sent yet, the severest first."""
    return conn.execute(
        "SELECT pipeline, route FROM incident_messages WHERE state = 'WAITING'"
        " GROUP BY 1, 2 ORDER BY min(CASE severity WHEN 'critical' THEN 0 ELSE 1 END),"
        " min(message_id)"
    ).fetchall()


def waiting(conn: Connection, pipeline: str, route: str) -> list[WaitingMessage]:
    """Return a route's messages that were not sent yet.

    An end is owed where the beginning was sent by itself.
    """
    rows = conn.execute(
        """
        SELECT message_id, kind, response_minutes, created_at,
            kind = 'resolved' AND EXISTS (
                SELECT FROM incident_messages told
                WHERE told.incident_id = m.incident_id AND told.state = 'SENT'
            )
        FROM incident_messages m
        WHERE pipeline = %s AND route = %s AND state = 'WAITING' ORDER BY message_id
        """,
        (pipeline, route),
    ).fetchall()
    return [WaitingMessage(*row) for row in rows]


def released(conn: Connection, pipeline: str, route: str, since: datetime) -> list[datetime]:
    """Return when a route's messages were sent one by one."""
    return [
        row[0]
        for row in conn.execute(
            "SELECT released_at FROM incident_messages WHERE pipeline = %s AND route = %s"
            " AND state = 'SENT' AND kind <> 'digest' AND released_at > %s",
            (pipeline, route, since),
        )
    ]


def last_digest(conn: Connection, pipeline: str, route: str) -> datetime | None:
    """Return when the route's last digest was sent."""
    row = conn.execute(
        "SELECT max(released_at) FROM incident_messages"
        " WHERE pipeline = %s AND route = %s AND kind = 'digest'",
        (pipeline, route),
    ).fetchone()
    return row[0] if row else None


def messages(conn: Connection, ids: Sequence[int]) -> list[StoredMessage]:
    """Return messages by their numbers, in that order."""
    rows = conn.execute(
        "SELECT message_id, pipeline, route, severity, kind, incident_id, level, title, body"
        " FROM incident_messages WHERE message_id = ANY(%s) ORDER BY message_id",
        (list(ids),),
    ).fetchall()
    return [StoredMessage(*row) for row in rows]


def digest_lines(conn: Connection, ids: Sequence[int]) -> list[tuple[str, str]]:
    """Return cause and one sentence for each message of a digest."""
    return conn.execute(
        """
        SELECT i.cause, format('%%s UTC, incident %%s %%s: %%s',
            to_char(m.created_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI'), i.incident_id, m.kind,
            i.title)
        FROM incident_messages m JOIN incidents i USING (incident_id)
        WHERE m.message_id = ANY(%s) ORDER BY m.message_id
        """,
        (list(ids),),
    ).fetchall()


def add_digest(
    conn: Connection,
    pipeline: str,
    route: str,
    severity: str,
    ids: Sequence[int],
    words: tuple[str, str],
    now: datetime,
) -> int:
    """Write a digest, and mark what it tells; return its number."""
    row = conn.execute(
        """
        INSERT INTO incident_messages (pipeline, route, severity, kind, level, response_minutes,
            created_at, state, released_at, title, body)
        VALUES (%(pipeline)s, %(route)s, %(severity)s, 'digest', 0, 0, %(now)s, 'SENT', %(now)s,
            %(title)s, %(body)s)
        RETURNING message_id
        """,
        {
            "pipeline": pipeline,
            "route": route,
            "severity": severity,
            "now": now,
            "title": words[0],
            "body": words[1],
        },
    ).fetchone()
    assert row is not None  # noqa: S101 -- it returns the row that it wrote
    conn.execute(
        "UPDATE incident_messages SET state = 'DIGESTED', released_at = %s, digest_id = %s"
        " WHERE message_id = ANY(%s)",
        (now, row[0], list(ids)),
    )
    return int(row[0])


def mark_sent(conn: Connection, message_id: int, title: str, body: str, now: datetime) -> None:
    """Hand a message over to the channels, in these words."""
    conn.execute(
        "UPDATE incident_messages SET state = 'SENT', released_at = %s, title = %s, body = %s"
        " WHERE message_id = %s",
        (now, storable(title), storable(body), message_id),
    )


def add_delivery(
    conn: Connection, message_id: int, channel: str, recipient: str, state: str, now: datetime
) -> None:
    """Note that a message goes to a recipient on a channel; one that is noted already is kept."""
    conn.execute(
        "INSERT INTO message_deliveries (message_id, channel, recipient, state, next_attempt_at)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (message_id, channel, recipient, state, now),
    )


def due_deliveries(conn: Connection, now: datetime, limit: int) -> list[Delivery]:
    """Return what must be sent now, the most severe first.

    An incident's messages reach a recipient in their order: an end that overtook its beginning
    would leave the incident open there for ever.
    """
    rows = conn.execute(
        """
        SELECT d.delivery_id, d.channel, d.recipient, d.attempts, m.message_id, m.pipeline,
            m.route, m.severity, m.kind, m.incident_id, m.level, m.title, m.body
        FROM message_deliveries d JOIN incident_messages m USING (message_id)
        WHERE d.state = 'PENDING' AND d.next_attempt_at <= %s AND NOT EXISTS (
            SELECT FROM message_deliveries earlier JOIN incident_messages e USING (message_id)
            WHERE earlier.state = 'PENDING' AND earlier.channel = d.channel
              AND earlier.recipient = d.recipient AND e.incident_id = m.incident_id
              AND earlier.delivery_id < d.delivery_id
        )
        ORDER BY m.severity <> 'critical', d.delivery_id LIMIT %s
        """,
        (now, limit),
    ).fetchall()
    return [Delivery(row[0], row[1], row[2], row[3], StoredMessage(*row[4:])) for row in rows]


def mark_attempt(
    conn: Connection,
    delivery_id: int,
    *,
    state: str,
    now: datetime,
    next_attempt_at: datetime | None = None,
    reason: str | None = None,
) -> None:
    """Keep how an attempt to send ended."""
    conn.execute(
        """
        UPDATE message_deliveries SET attempts = attempts + 1, state = %(state)s,
            reason = %(reason)s, next_attempt_at = coalesce(%(next)s, next_attempt_at),
            delivered_at = CASE WHEN %(state)s = 'DELIVERED' THEN %(now)s::timestamptz END
        WHERE delivery_id = %(id)s
        """,
        {"state": state, "reason": reason, "next": next_attempt_at, "now": now, "id": delivery_id},
    )


def retry_undelivered(conn: Connection, now: datetime) -> int:
    """Let everything that was given up be sent again; return how much it is."""
    return conn.execute(
        "UPDATE message_deliveries SET state = 'PENDING', attempts = 0, next_attempt_at = %s,"
        " reason = NULL WHERE state = 'UNDELIVERED'",
        (now,),
    ).rowcount


def deliveries(conn: Connection, incident_id: int) -> list[dict[str, Any]]:
    """Return who was told of an incident, on which channel, and how that ended."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT m.created_at, m.kind, d.channel, d.recipient, d.state, d.attempts,
                d.delivered_at, d.reason
            FROM incident_messages m
            JOIN message_deliveries d ON d.message_id = coalesce(m.digest_id, m.message_id)
            WHERE m.incident_id = %s ORDER BY m.message_id, d.delivery_id
            """,
            (incident_id,),
        ).fetchall()


def undelivered(conn: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    """Return, for each of these incidents, the states of deliveries that nobody received."""
    rows = conn.execute(
        """
        SELECT m.incident_id, array_agg(DISTINCT d.channel || ': ' || lower(d.state)
            ORDER BY d.channel || ': ' || lower(d.state))
        FROM incident_messages m
        JOIN message_deliveries d ON d.message_id = coalesce(m.digest_id, m.message_id)
        WHERE m.incident_id = ANY(%s)
          AND (d.state IN ('UNDELIVERED', 'NOT_CONFIGURED')
               OR (d.state = 'PENDING' AND d.attempts > 0))
        GROUP BY 1
        """,
        (list(ids),),
    ).fetchall()
    return dict(rows)


def _incidents(conn: Connection, where: str, values: Mapping[str, object]) -> list[Incident]:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            f"SELECT {_INCIDENT} FROM incidents WHERE {where}".encode(), values
        ).fetchall()
    return [Incident(**{**row, "remedy": Remedy.model_validate(row["remedy"])}) for row in rows]


def _days(stored: Multirange[date]) -> Days:
    return tuple((one.lower, one.upper) for one in stored)  # type: ignore[misc]
