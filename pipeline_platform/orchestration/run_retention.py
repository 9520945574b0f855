"""Old runs of Dagster and their events: which may go, and how they do (SC-44, B-13).

Dagster itself forgets ticks only. A run stays while it holds the latest materialization or
observation of any partition, or the latest evaluation of a check: without it the partition would
be taken for missing and be made again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from pipeline_platform.failures import PermanentError
from pipeline_platform.orchestration.pipeline_runs import ENDED
from pipeline_platform.warehouse.retention import Aged

PAGE = 500
_events, _checks = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
_LATEST = (
    dg.DagsterEventType.ASSET_MATERIALIZATION.value,
    dg.DagsterEventType.ASSET_OBSERVATION.value,
)


@dataclass(frozen=True)
class OldRuns:
    """The runs of an instance that ended long ago."""

    instance: dg.DagsterInstance

    def aged(self, before: datetime) -> Aged:
        """Return how many runs there are, since when the oldest is, and how many may go."""
        oldest = self.instance.get_run_records(limit=1, ascending=True)
        return Aged(
            self.instance.get_runs_count(),
            oldest[0].create_timestamp.astimezone(UTC) if oldest else None,
            sum(1 for _ in self._going(before)),
        )

    def forget(self, before: datetime, most: int) -> Iterator[int]:
        """Delete at most so many old runs, the oldest first, one by one; yield 1 for each.

        The events go before the run: whoever is killed in between finds the run again.
        """
        for number, run_id in enumerate(self._going(before)):
            if number == most:
                return
            self.instance.event_log_storage.delete_events(run_id)
            self._forget_checks(run_id)
            self.instance.run_storage.delete_run(run_id)
            yield 1

    def _going(self, before: datetime) -> Iterator[str]:
        """Yield the ids of runs that ended before an instant and hold nothing that is latest."""
        needed = self._needed()
        cursor: str | None = None
        old = dg.RunsFilter(statuses=list(ENDED), created_before=before)
        # All pages are read before anything is deleted: a cursor must not vanish under the reader.
        found: list[dg.RunRecord] = []
        while True:
            page = self.instance.get_run_records(old, limit=PAGE, cursor=cursor)
            found += page
            if len(page) < PAGE:
                break
            cursor = page[-1].dagster_run.run_id
        for record in reversed(found):
            ended = record.end_time or record.update_timestamp.timestamp()
            if ended < before.timestamp() and record.dagster_run.run_id not in needed:
                yield record.dagster_run.run_id

    def _needed(self) -> set[str]:
        """Return the runs that hold the latest of an asset's partition or of a check."""
        latest_events = (
            sa.select(sa.func.max(_events.id))
            .where(_events.dagster_event_type.in_(_LATEST))
            .group_by(_events.dagster_event_type, _events.asset_key, _events.partition)
        )
        latest_checks = sa.select(sa.func.max(_checks.id)).group_by(
            _checks.asset_key, _checks.check_name
        )
        with self._storage.index_connection() as connection:
            events = connection.execute(
                sa.select(_events.run_id).where(_events.id.in_(latest_events)).distinct()
            )
            checks = connection.execute(
                sa.select(_checks.run_id).where(_checks.id.in_(latest_checks)).distinct()
            )
            return {row[0] for row in (*events.fetchall(), *checks.fetchall())}

    def _forget_checks(self, run_id: str) -> None:
        with self._storage.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(_checks.run_id == run_id))

    @property
    def _storage(self) -> SqlEventLogStorage:
        storage = self.instance.event_log_storage
        found = getattr(storage, "event_log_storage", storage)
        if not isinstance(found, SqlEventLogStorage):
            raise PermanentError(
                f"Runs in {type(storage).__name__} can't be cleaned up; use PostgreSQL for Dagster."
            )
        return found
