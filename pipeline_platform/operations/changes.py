"""What changed between the last green of an incident's cause and its opening (B-12).

Everything that the platform writes down anyway: the code, runbooks and settings that it ran with,
migrations of the database, files that were taken in, snapshots that were published, values of the
check, what people did, and maintenance. It names what changed, not what is to blame.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from pipeline_platform.lake.publications import STANDS_FOR, Publication
from pipeline_platform.operations.faults import Fault
from pipeline_platform.operations.incident_words import Changes, shortened
from pipeline_platform.operations.incidents import Incident
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.operations.platform_states import state_at, state_changes
from pipeline_platform.services import Services
from pipeline_platform.warehouse.database import Connection

if TYPE_CHECKING:
    from pyiceberg.table import Table

SHOWN_NAMES = 3
SHOWN_TABLES = 3
LAKE_SECONDS = 8.0
"""A lake that does not answer must not hold up the message that says so."""
LAKE_NOT_ASKED = "published snapshots: not looked for, too much happened at once"
LINE_LENGTH = 300


@dataclass(frozen=True)
class Window:
    """From the last green (excluded) to the incident's opening (included)."""

    since: datetime
    until: datetime

    @property
    def values(self) -> dict[str, object]:
        """Both ends, for a query."""
        return {"since": self.since, "until": self.until}


def leading_fault(incident: Incident, faults: Sequence[Fault]) -> Fault | None:
    """Return the fault that the incident's title tells, else the oldest that is broken."""
    red = sorted(
        (one for one in faults if one.state == "RED"), key=lambda one: (one.began_at, one.name)
    )
    return next((one for one in red if one.sentence == incident.title), red[0] if red else None)


def changes_since_green(
    services: Services, incident: Incident, faults: Sequence[Fault], *, has_time: bool = True
) -> Changes:
    """Return what the platform recorded between the last green and the incident.

    `since` is None for what was never seen to work: then nothing can be compared. Without time the
    lake is not asked, which is said.
    """
    fault = leading_fault(incident, faults)
    if fault is None:
        return Changes(None)
    with services.database.connection() as connection:
        since = last_green(connection, fault)
        if since is None:
            return Changes(None)
        window = Window(since, max(since, incident.opened_at))
        lines = [
            *_of_platform(connection, window),
            *_of_check(connection, fault, window),
            *_of_files(connection, fault.pipeline, window),
        ]
        others = [
            *_of_people(connection, window),
            *_of_maintenance(connection, fault.pipeline, window),
        ]
    published = _of_lake(services, fault, window) if has_time else [LAKE_NOT_ASKED]
    lines += [*published, *others]
    return Changes(since, tuple(shortened(line, LINE_LENGTH) for line in lines))


def last_green(conn: Connection, fault: Fault) -> datetime | None:
    """Return when a thing was seen to work before it broke."""
    row = conn.execute(
        "SELECT green_at FROM last_greens WHERE pipeline = %s AND fault = %s",
        (fault.pipeline, fault.name),
    ).fetchone()
    return row[0] if row else None


def _of_platform(conn: Connection, window: Window) -> Iterator[str]:
    before, after = state_at(conn, window.since), state_at(conn, window.until)
    if before is None or after is None:
        yield "code, runbooks and settings: not recorded at the last green"
    else:
        yield from state_changes(before, after)
    applied = conn.execute(
        "SELECT version FROM schema_migrations WHERE applied_at > %(since)s"
        " AND applied_at <= %(until)s ORDER BY 1",
        window.values,
    ).fetchall()
    if applied:
        yield f"migrations of the database: {_few([str(row[0]) for row in applied])}"


def _of_check(conn: Connection, fault: Fault, window: Window) -> Iterator[str]:
    """Tell a check's value then and now, and another limit."""
    if fault.kind != "check":
        return
    check = fault.name.rpartition(":")[2]
    runbook = runbooks().get(fault.pipeline)
    thresholds = runbook.thresholds.values() if runbook else ()
    name = next((one.name for one in thresholds if one.check == check), check)
    values = {**window.values, "pipeline": fault.pipeline, "name": name, "asset": fault.subject}
    found = [
        conn.execute(
            "SELECT value, limit_value FROM check_observations WHERE pipeline = %(pipeline)s"
            " AND check_name = %(name)s AND asset_key = %(asset)s AND outcome = " + which +
            " ORDER BY observed_at DESC LIMIT 1",
            values,
        ).fetchone()
        for which in (
            "'pass' AND observed_at <= %(since)s",
            "'fail' AND observed_at <= %(until)s",
        )
    ]  # fmt: skip
    before, now = found
    if before and now and before[0] is not None and now[0] is not None:
        yield f"{name}: {before[0]:g} then, {now[0]:g} now"


def _of_files(conn: Connection, pipeline: str, window: Window) -> Iterator[str]:
    rows = conn.execute(
        "SELECT file_name, status IN ('QUARANTINED', 'FAILED') FROM etl_processing_log"
        " WHERE pipeline = %(pipeline)s AND processing_start_time > %(since)s"
        " AND processing_start_time <= %(until)s ORDER BY processing_start_time DESC",
        {**window.values, "pipeline": pipeline},
    ).fetchall()
    if rows:
        refused = [name for name, is_refused in rows if is_refused]
        told = f", {len(refused)} of them refused ({_few(refused)})" if refused else ""
        yield f"{len(rows)} files taken in{told}: {_few([name for name, _ in rows])}"
    reads = conn.execute(
        "SELECT stream, count(*), sum(records), count(*) FILTER (WHERE outcome = 'FAILED')"
        " FROM stream_reads WHERE pipeline = %(pipeline)s AND read_at > %(since)s"
        " AND read_at <= %(until)s GROUP BY 1 ORDER BY 1",
        {**window.values, "pipeline": pipeline},
    ).fetchall()
    for stream, count, records, failed in reads:
        yield f"stream {stream}: {records} records in {count} reads, {failed} of them failed"


def _of_people(conn: Connection, window: Window) -> Iterator[str]:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT acted_at, actor, action, target FROM operator_actions"
            " WHERE result = 'done' AND acted_at > %(since)s AND acted_at <= %(until)s"
            " ORDER BY action_id DESC",
            window.values,
        ).fetchall()
    if rows:
        shown = [_action(row) for row in rows[:SHOWN_NAMES]]
        yield f"{len(rows)} actions of people: {_few(shown, len(rows))}"


def _action(row: Mapping[str, Any]) -> str:
    return f"{row['action']} {row['target']} by {row['actor']} at {row['acted_at']:%m-%d %H:%M}"


def _of_maintenance(conn: Connection, pipeline: str, window: Window) -> Iterator[str]:
    rows = conn.execute(
        "SELECT operation, count(DISTINCT table_name) FROM maintenance_runs"
        " WHERE pipeline = %(pipeline)s AND started_at > %(since)s AND started_at <= %(until)s"
        " GROUP BY 1 ORDER BY 1",
        {**window.values, "pipeline": pipeline},
    ).fetchall()
    if rows:
        yield f"maintenance: {', '.join(f'{what} of {count} tables' for what, count in rows)}"


def _of_lake(services: Services, fault: Fault, window: Window) -> list[str]:
    """Tell what was published, that of the broken table first."""
    try:
        return _in_time(lambda: list(_published(services, fault, window)), LAKE_SECONDS)
    except FutureTimeoutError:
        return [f"published snapshots: the lake did not answer within {LAKE_SECONDS:.0f} s"]
    except Exception as error:
        # Whatever is wrong with the lake, it must not keep anybody from being told.
        return [f"published snapshots: the lake can't be read ({type(error).__name__})"]


def _in_time(work: Callable[[], list[str]], seconds: float) -> list[str]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="changes")
    try:
        return pool.submit(work).result(seconds)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _published(services: Services, fault: Fault, window: Window) -> Iterator[str]:
    found: list[tuple[str, Publication, int]] = []
    for table in services.lake.tables(fault.pipeline):
        name = "/".join(table.asset_key)
        iceberg = services.lake.named(table.identifier)
        if iceberg is None:
            continue
        own = [one for one in map(Publication.of, iceberg.snapshots()) if _is_in(one, window)]
        if own:
            found.append((name, own[-1], len(own)))
            yield from _schema_change(iceberg, name, window)
    # The broken table first, then what was published last.
    found.sort(key=lambda one: one[1].committed_at, reverse=True)
    found.sort(key=lambda one: one[0] != fault.subject)
    for name, last, count in found[:SHOWN_TABLES]:
        yield (
            f"{name}: {count} publications, the last is snapshot {last.snapshot_id}, "
            f"+{last.row_count} rows, run {last.properties.get('run_id', 'unknown')[:13]}"
        )
    if len(found) > SHOWN_TABLES:
        yield f"{len(found) - SHOWN_TABLES} more tables were published"


def _is_in(publication: Publication, window: Window) -> bool:
    is_new = STANDS_FOR not in publication.properties
    return is_new and window.since < publication.committed_at <= window.until


def _schema_change(iceberg: "Table", name: str, window: Window) -> Iterator[str]:
    """Tell columns that came or went between the last snapshot before and the last one after."""
    columns = partial(_columns, iceberg.schemas())
    ordered = [(one, Publication.of(one).committed_at) for one in iceberg.snapshots()]
    before = [one for one, at in ordered if at <= window.since]
    after = [one for one, at in ordered if at <= window.until]
    if before and after:
        old, new = columns(before[-1].schema_id), columns(after[-1].schema_id)
        changed = [*(f"+{one}" for one in new - old), *(f"-{one}" for one in old - new)]
        if changed:
            yield f"columns of {name}: {_few(sorted(changed))}"


def _columns(schemas: Mapping[int, Any], schema_id: int | None) -> set[str]:
    schema = schemas.get(schema_id) if schema_id is not None else None
    return {f"{one.name} {one.field_type}" for one in schema.fields} if schema else set()


def _few(names: Sequence[str], count: int | None = None) -> str:
    total = len(names) if count is None else count
    more = f" and {total - SHOWN_NAMES} more" if total > SHOWN_NAMES else ""
    return f"{', '.join(names[:SHOWN_NAMES])}{more}"
