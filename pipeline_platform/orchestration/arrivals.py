"""What an arrival sensor asks for: batches of new objects, from a queue where there is one."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from pipeline_platform.landing.arrivals import Batch, batches, next_arrivals
from pipeline_platform.landing.notifications import ArrivalNotifications
from pipeline_platform.runbook import ArrivalLimits
from pipeline_platform.services import Services

LISTED_AT_LEAST_EVERY = timedelta(minutes=15)
"""Notices can be lost, so the folder is listed at times even where a queue tells of arrivals."""


def arrival_batches(
    services: Services,
    pipeline: str,
    cursor: str | None,
    limits: ArrivalLimits,
    *,
    now: datetime,
) -> tuple[Sequence[Batch], str]:
    """Return bounded batches of objects that wait and were not given, and the next cursor.

    Without a queue the folder is listed each time. With one, its notices are looked up, and the
    folder is listed every quarter of an hour. Raises UnavailableError.
    """
    state = json.loads(cursor) if cursor else {}
    zone = services.landing(pipeline)
    found: list[Batch] = []
    if services.settings.arrivals_queue_url:
        poll = ArrivalNotifications(services.settings, pipeline).poll(state.get("queue"))
        state["queue"] = poll.cursor
        noticed = zone.present(poll.keys)
        found += batches(noticed, max_files=limits.max_files, max_bytes=limits.max_bytes)
        listed_at = state.get("listed_at")
        if listed_at and now - datetime.fromisoformat(listed_at) < LISTED_AT_LEAST_EVERY:
            return found, json.dumps(state)
    listed, state["listing"] = next_arrivals(
        zone.list("incoming"),
        state.get("listing"),
        max_files=limits.max_files,
        max_bytes=limits.max_bytes,
    )
    state["listed_at"] = now.isoformat()
    noticed_keys = {key for batch in found for key in batch.keys}
    found += [batch for batch in listed if not noticed_keys.issuperset(batch.keys)]
    return found, json.dumps(state)
