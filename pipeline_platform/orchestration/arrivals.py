"""What an arrival sensor asks for: batches of new objects, from a queue where there is one."""

import json
from datetime import datetime, timedelta
from typing import Any

from pipeline_platform.landing.arrivals import Batch, batches, next_arrivals
from pipeline_platform.landing.notifications import ArrivalNotifications
from pipeline_platform.runbook import ArrivalLimits
from pipeline_platform.services import Services

LISTED_AT_LEAST_EVERY = timedelta(minutes=15)
"""Notices can be lost, so the folder is listed at times even where a queue tells of arrivals."""
OFFERED_AGAIN_AFTER = timedelta(minutes=15)
"""What still waits so long after its run ended (the database was away) is offered once more."""
SETTLED_AFTER = timedelta(seconds=3)
"""A local file that was written to so recently may still be written to; S3 shows whole objects."""

KeyedBatch = tuple[str, Batch]


def arrival_batches(
    services: Services,
    pipeline: str,
    cursor: str | None,
    limits: ArrivalLimits,
    *,
    now: datetime,
    is_idle: bool,
) -> tuple[list[KeyedBatch], str]:
    """Return bounded batches of objects that wait, each with its run key, and the next cursor.

    Without a queue the folder is listed each time. With one, its notices are looked up, and the
    folder is listed every quarter of an hour. `is_idle` says that no run of this sensor is
    unfinished: only then can objects that were given before be left behind, and after a while
    they are given again. Raises UnavailableError.
    """
    state: dict[str, Any] = json.loads(cursor) if cursor else {}
    found: list[Batch] = []
    if services.settings.arrivals_queue_url:
        poll = ArrivalNotifications(services.settings, pipeline).poll(state.get("queue"))
        state["queue"] = poll.cursor
        noticed = services.landing(pipeline).present(poll.keys)
        found = batches(noticed, max_files=limits.max_files, max_bytes=limits.max_bytes)
    if not services.settings.arrivals_queue_url or _is_due(state, "listed_at", now):
        noticed_keys = {key for batch in found for key in batch.keys}
        listed = _listed(services, pipeline, state, limits, now, is_idle=is_idle)
        found += [batch for batch in listed if not noticed_keys.issuperset(batch.keys)]
    if found:
        state["offered_at"] = now.isoformat()
    offers = state.get("offers", 0)
    keyed = [(f"{batch.run_key}-{offers}" if offers else batch.run_key, batch) for batch in found]
    return keyed, json.dumps(state)


def _listed(
    services: Services,
    pipeline: str,
    state: dict[str, Any],
    limits: ArrivalLimits,
    now: datetime,
    *,
    is_idle: bool,
) -> list[Batch]:
    waiting = services.landing(pipeline).list("incoming")
    state["listed_at"] = now.isoformat()
    if waiting and is_idle and "offered_at" in state and _is_due(state, "offered_at", now):
        state["offers"] = state.get("offers", 0) + 1
        state["listing"] = None
    is_remote = services.settings.raw_location.startswith("s3://")
    found, state["listing"] = next_arrivals(
        waiting,
        state.get("listing"),
        max_files=limits.max_files,
        max_bytes=limits.max_bytes,
        settled_before=None if is_remote else now - SETTLED_AFTER,
    )
    return found


def _is_due(state: dict[str, Any], name: str, now: datetime) -> bool:
    """Tell whether something was last done a quarter of an hour ago or earlier."""
    wait = LISTED_AT_LEAST_EVERY if name == "listed_at" else OFFERED_AGAIN_AFTER
    last = state.get(name)
    return last is None or now - datetime.fromisoformat(last) >= wait
