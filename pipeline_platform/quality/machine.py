"""What is measured of the machines: their disks, their clocks, and what keeps a database busy."""

from typing import Any

from pipeline_platform.disks import disks
from pipeline_platform.quality.measurements import Measurement
from pipeline_platform.quality.measures import ALL, SECONDS_PER_MINUTE, Labelled, Scope
from pipeline_platform.warehouse.activity import foreign_queries


def longest_query(scope: Scope[Any]) -> Labelled:
    """Return how long the oldest query has been at work that is not ours, in minutes (SA-58)."""
    with scope.run.services.database.connection() as connection:
        found = foreign_queries(connection)
    now = scope.run.now()
    minutes = [(now - one["since"]).total_seconds() / SECONDS_PER_MINUTE for one in found]
    offenders = tuple(f"{one['pid']}: {' '.join(one['query'].split())[:200]}" for one in found)
    return {ALL: Measurement("longest_query", max(minutes, default=0.0), offenders=offenders)}


def clock_skew(scope: Scope[Any]) -> Labelled:
    """Return how far our clock is from the database's, in seconds.

    The database is asked between two looks at our clock; what may lie between counts for us.
    """
    with scope.run.services.database.connection() as connection:
        before = scope.run.now()
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        after = scope.run.now()
    theirs = row[0] if row else before
    seconds = max(0.0, (before - theirs).total_seconds(), (theirs - after).total_seconds())
    return {ALL: Measurement("clock_skew", seconds)}


def disk_used(scope: Scope[Any]) -> Labelled:
    """Return how full each disk is that the settings name, in percent."""
    return {
        name: Measurement("disk_used", one.used_pct, one.used, one.used + one.free)
        for name, one in disks(scope.run.services.settings).items()
    }
