"""Dagster's storage in PostgreSQL with a small pool of connections for the whole process.

`dagster-postgres` opens a connection for each statement that it sends: a run of one month opened
about a thousand, and asked the catalog of the database another 300 times which tables and columns
it has. Here runs, events and schedules of a process share one bounded pool; what was seen in the
catalog is remembered; and the events that announce what a run will do are written in one statement.
Tables, migrations and what is read from them are those of `dagster-postgres`.

dagster.yaml names `PooledPostgresStorage` with `postgres_url`, `pool_size` (connections that stay
open, per process) and `max_overflow` (how many more may be open for a moment). A connection is
tried before it is lent, so that a restarted server is noticed; a forked process starts with an
empty pool.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from dagster import AssetCheckKey, Field, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, set_pg_statement_timeout
from sqlalchemy import and_, event, or_
from sqlalchemy.engine import Connection, Engine

from pipeline_platform.logs import is_structured

POOL_SIZE = 2
MAX_OVERFLOW = 8
WAIT_SECONDS = 30
RECYCLE_SECONDS = 1800
HELD_SECONDS = 1.0
RUNS_REMEMBERED = 200
LOG_COMPONENT = "dagster"
_PLANNED = {
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
}
_CHATTER = {DagsterEventType.STEP_OUTPUT, DagsterEventType.ASSET_CHECK_EVALUATION}


class PoolSettings(NamedTuple):
    """How one pool is built; two storages with the same settings share it."""

    url: str
    size: int = POOL_SIZE
    max_overflow: int = MAX_OVERFLOW
    recycle_seconds: int = RECYCLE_SECONDS
    statement_timeout_ms: int | None = None


_engines: dict[PoolSettings, Engine] = {}
_engines_lock = threading.Lock()


def pooled_engine(settings: PoolSettings) -> Engine:
    """Return the process's engine for these settings; it connects on first use."""
    with _engines_lock:
        if settings not in _engines:
            _engines[settings] = _new_engine(settings)
        return _engines[settings]


def _new_engine(settings: PoolSettings) -> Engine:
    engine = create_pg_engine(
        settings.url,
        isolation_level="AUTOCOMMIT",
        pool_size=settings.size,
        max_overflow=settings.max_overflow,
        pool_timeout=WAIT_SECONDS,
        pool_recycle=settings.recycle_seconds,
        pool_pre_ping=True,
        pool_use_lifo=True,
    )
    timeout = settings.statement_timeout_ms
    if timeout is not None:
        event.listen(
            engine, "connect", lambda connection, _: set_pg_statement_timeout(connection, timeout)
        )
    return engine


def _forget_connections() -> None:
    """Leave a parent's connections to the parent: a child must neither use nor close them."""
    global _engines_lock  # noqa: PLW0603 -- another thread of the parent may have held it
    _engines_lock = threading.Lock()
    for engine in _engines.values():
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)


class _FromPool:
    """What the three storages have in common: their engine is the process's own."""

    _engine: Engine
    _pool: PoolSettings

    def use_pool(self, settings: PoolSettings) -> Self:
        """Take connections from the pool of these settings from now on."""
        self._pool = settings
        self._engine = pooled_engine(settings)
        return self

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Do for the UI what it asks for, with one pool instead of three."""
        self.use_pool(
            self._pool._replace(
                max_overflow=max_overflow,
                recycle_seconds=pool_recycle,
                statement_timeout_ms=statement_timeout,
            )
        )


class PooledRunStorage(_FromPool, PostgresRunStorage):
    """Runs, their tags, snapshots and heartbeats."""


class PooledScheduleStorage(_FromPool, PostgresScheduleStorage):
    """Ticks of schedules and sensors, evaluations of automation conditions."""


class PooledEventLogStorage(_FromPool, PostgresEventLogStorage):
    """Events of runs, assets and checks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._tables_seen: set[str] = set()
        self._columns_seen: set[str] = set()
        self._holds_back = False
        self._held: list[EventLogEntry] = []
        self._held_lock = threading.RLock()
        self._tags: dict[str, Mapping[str, str]] = {}
        super().__init__(*arguments, **options)

    def has_table(self, table_name: str) -> bool:
        """Tell whether a table is there; one that was seen is not looked for again."""
        if table_name not in self._tables_seen and super().has_table(table_name):
            self._tables_seen.add(table_name)
        return table_name in self._tables_seen

    def has_asset_key_col(self, column_name: str) -> bool:
        """Tell whether `asset_keys` has a column; one that was seen is not looked for again."""
        if column_name not in self._columns_seen and super().has_asset_key_col(column_name):
            self._columns_seen.add(column_name)
        return column_name in self._columns_seen

    def hold_back_chatter(self) -> None:
        """Write what a step says of its outputs and checks together, at most a second later.

        For a process that executes one run. Whatever else happens is written at once, after what
        was held back. A process that is killed takes at most a second of such events with it, of a
        step that had not ended.
        """
        self._holds_back = True

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event, and what asset and check tables keep of it.

        As `dagster-postgres` does, less its NOTIFY, to which no current version listens.
        """
        if event.run_id and is_structured(LOG_COMPONENT):
            self._log(event)
        if not self._holds_back:
            self._store_one(event)
            return
        with self._held_lock:
            if event.run_id and _types([event]) <= _CHATTER:
                if not self._held:
                    timer = threading.Timer(HELD_SECONDS, self.write_held)
                    timer.daemon = True
                    timer.start()
                self._held.append(event)
            else:
                self.write_held()
                self._store_one(event)

    def _log(self, event: EventLogEntry) -> None:
        """Add an event to our log, too."""
        from pipeline_platform.orchestration.run_log import tell  # noqa: PLC0415 -- only if wanted

        if event.run_id not in self._tags and self.has_instance:
            run = self._instance.get_run_by_id(event.run_id)
            if len(self._tags) >= RUNS_REMEMBERED:
                self._tags.clear()
            self._tags[event.run_id] = run.tags if run is not None else {}
        tell(event, self._tags.get(event.run_id, {}))

    def write_held(self) -> None:
        """Write what was held back, all of it or nothing."""
        with self._held_lock:
            if self._held:
                self.store_event_batch(self._held)
                self._held = []

    def dispose(self) -> None:
        """Write what was held back, and stop watching."""
        self.write_held()
        super().dispose()

    def _store_one(self, event: EventLogEntry) -> None:
        statement = self.prepare_insert_event(event).returning(SqlEventLogStorageTable.c.id)
        with self._connect() as connection:
            event_id = int(connection.execute(statement).scalar_one())
        if not event.is_dagster_event:
            return
        dagster_event = event.get_dagster_event()
        if dagster_event.event_type in ASSET_EVENTS and dagster_event.asset_key:
            with self.index_transaction() as connection:
                self._store_asset_event_tags(connection, [event], [event_id])
                self._store_asset_event(connection, event, event_id)
        elif dagster_event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            with self.index_transaction() as connection:
                self._replace_checks(connection, [self._planned_check(event, event_id)])
        elif dagster_event.event_type in ASSET_CHECK_EVENTS:
            self.store_asset_check_event(event, event_id)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that belong together, all of them or none.

        Announcements of a run and the chatter of a step take a few statements together; other
        batches are Dagster's.
        """
        if not _types(events) <= _PLANNED | _CHATTER:
            super().store_event_batch(events)
            return
        statement = self.prepare_insert_event_batch(events)
        statement = statement.returning(SqlEventLogStorageTable.c.id)
        with self.index_transaction() as connection:
            ids = [int(number) for number in connection.execute(statement).scalars()]
            checks = []
            for one, event_id in zip(events, ids, strict=True):
                if one.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
                    self._store_asset_event(connection, one, event_id)
                elif one.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                    checks.append(self._planned_check(one, event_id))
                elif one.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
                    checks.append(self._evaluated_check(one, event_id))
            if checks:
                self._replace_checks(connection, checks)

    def _planned_check(self, entry: EventLogEntry, event_id: int) -> dict[str, object]:
        """Return the row of one announced check, whatever partitions its run is of.

        Dagster announces a check without partitions for each partition of its run, but evaluates it
        once, for none: all of its announcements would stay planned for ever.
        """
        planned = entry.get_dagster_event().asset_check_planned_data
        status = AssetCheckExecutionRecordStatus.PLANNED
        return self._check_row(entry, event_id, planned.asset_check_key, None, status)

    def _evaluated_check(self, entry: EventLogEntry, event_id: int) -> dict[str, object]:
        """Return the row of one evaluated check."""
        found = entry.get_dagster_event().asset_check_evaluation_data
        status = (
            AssetCheckExecutionRecordStatus.SUCCEEDED
            if found.passed
            else AssetCheckExecutionRecordStatus.FAILED
        )
        row = self._check_row(entry, event_id, found.asset_check_key, found.partition, status)
        target = found.target_materialization_data
        return {**row, "materialization_event_storage_id": target.storage_id if target else None}

    def _check_row(
        self,
        entry: EventLogEntry,
        event_id: int,
        key: AssetCheckKey,
        partition: str | None,
        status: AssetCheckExecutionRecordStatus,
    ) -> dict[str, object]:
        return {
            "asset_key": key.asset_key.to_string(),
            "check_name": key.name,
            "partition": partition,
            "run_id": entry.run_id,
            "execution_status": status.value,
            "evaluation_event": serialize_value(entry),
            "evaluation_event_timestamp": self._event_insert_timestamp(entry),  # type: ignore[no-untyped-call]
            "evaluation_event_storage_id": event_id,
            "materialization_event_storage_id": None,
        }

    def _replace_checks(self, connection: Connection, rows: list[dict[str, object]]) -> None:
        """Write rows of checks; an evaluation takes the place of the run's announcement."""
        table = AssetCheckExecutionsTable.c
        announced = [
            and_(
                table.run_id == row["run_id"],
                table.asset_key == row["asset_key"],
                table.check_name == row["check_name"],
                or_(table.partition.is_(None), table.partition == row["partition"]),
            )
            for row in rows
            if row["execution_status"] != AssetCheckExecutionRecordStatus.PLANNED.value
        ]
        if announced:
            connection.execute(AssetCheckExecutionsTable.delete().where(or_(*announced)))
        connection.execute(AssetCheckExecutionsTable.insert().values(rows))


def _types(events: Sequence[EventLogEntry]) -> set[DagsterEventType | None]:
    return {one.dagster_event_type if one.is_dagster_event else None for one in events}


class PooledPostgresStorage(DagsterPostgresStorage):
    """All of an instance's storage, on one pool for each process."""

    def __init__(
        self,
        postgres_url: str,
        pool_size: int = POOL_SIZE,
        max_overflow: int = MAX_OVERFLOW,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        pool = PoolSettings(postgres_url, pool_size, max_overflow)
        self._run_storage = PooledRunStorage(postgres_url).use_pool(pool)
        self._event_log_storage = PooledEventLogStorage(postgres_url).use_pool(pool)
        self._schedule_storage = PooledScheduleStorage(postgres_url).use_pool(pool)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the settings that dagster.yaml may give."""
        return {
            "postgres_url": StringSource,
            "pool_size": Field(int, default_value=POOL_SIZE, is_required=False),
            "max_overflow": Field(int, default_value=MAX_OVERFLOW, is_required=False),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        """Build the storage that dagster.yaml describes."""
        return cls(**config_value, inst_data=inst_data)
