"""What is measured of the database and its indexes, for any pipeline (SA-16, SA-37)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from pipeline_platform.quality.measurements import Measurement, percentage, unmeasured
from pipeline_platform.quality.measures import ALL, Labelled, Scope
from pipeline_platform.recovery import proof
from pipeline_platform.warehouse.index_bloat import counted_since, index_use

_CONNECTIONS = "SELECT open_count, max_connections FROM active_connections"


def connections(scope: Scope[Any]) -> Labelled:
    """Count the open connections to the whole server."""
    ((count, _),) = scope.rows(_CONNECTIONS)
    return {ALL: Measurement("database_connections", count, sample_size=1)}


def connection_share(scope: Scope[Any]) -> Labelled:
    """Return the share of allowed connections that is open, in percent."""
    ((count, allowed),) = scope.rows(_CONNECTIONS)
    share = percentage("database_connection_share", count, allowed)
    return {ALL: replace(share, sample_size=1)}


UNUSED_FOR = timedelta(days=30)
"""An index without a scan for so long is told of (SA-37 names no number)."""


def unused_indexes(scope: Scope[Any]) -> Labelled:
    """Count indexes without a scan in 30 days; keys and unique constraints are needed unused."""
    now = scope.run.now()
    with scope.run.services.database.connection() as connection:
        since = counted_since(connection) or proof.made_at(scope)
        used = [one for one in index_use(connection) if not one.guards]
    if now - since < UNUSED_FOR:
        reason = f"scans are counted since {since:%Y-%m-%d} only"
        return {ALL: unmeasured("unused_indexes", reason)}
    idle = [
        one.index_name
        for one in used
        if one.last_scan_at is None or now - one.last_scan_at > UNUSED_FOR
    ]
    return {ALL: Measurement("unused_indexes", len(idle), len(idle), len(used), None, tuple(idle))}
