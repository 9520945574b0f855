"""Does each thing that the platform depends on answer, now and in time? (SC-1, SA-88).

One judgement for all who ask: `GET /health`, the sensor of alerts, and the command line.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from importlib.metadata import version
from typing import Literal

import dagster as dg
from pydantic import BaseModel

from pipeline_platform.disks import disks
from pipeline_platform.failures import PlatformError, UnavailableError
from pipeline_platform.orchestration.daemons import silent
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.run_records import last_successes

PROBE_SECONDS = 3.0
"""A dependency that needs longer counts as down; the answer does not wait for it."""
LEAST_FREE_SHARE, LEAST_FREE_BYTES = 0.05, 2_000_000_000
"""So much of a disk must be free, whichever is less: on a large disk a share is much."""
Details = Mapping[str, object]
Timed = tuple[Details, float]
"""What a dependency said, and after how many milliseconds."""


class Dependency(BaseModel):
    """One thing that the platform needs: whether it answers, how fast, and why not."""

    status: Literal["ok", "failing"]
    milliseconds: float
    details: dict[str, object] = {}
    reason: str | None = None


class Health(BaseModel):
    """`status` is ok if every dependency is; else the answer's status code is 503."""

    status: Literal["ok", "failing"]
    version: str
    environment: str
    checked_at: datetime
    dependencies: dict[str, Dependency]


class Probes:
    """Asks every dependency at the same time; one that hangs holds up neither the others nor us."""

    def __init__(
        self, services: Services, instance: dg.DagsterInstance, pipelines: Iterable[str]
    ) -> None:
        self._services = services
        self._instance = instance
        self._pipelines = tuple(pipelines)
        self._checks: dict[str, Callable[[], Details]] = {
            "database": self._database,
            "lake": self._lake,
            "landing": self._landing,
            "dagster": self._dagster,
            "disk": self._disk,
            "last_runs": self._last_runs,
        }
        self._pool = ThreadPoolExecutor(len(self._checks), thread_name_prefix="health")
        self._asked: dict[str, tuple[float, Future[Timed]]] = {}

    def report(self) -> Health:
        """Ask everything and say how it went."""
        for name, check in self._checks.items():
            if name not in self._asked or self._asked[name][1].done():
                self._asked[name] = (time.monotonic(), self._pool.submit(_timed, check))
        until = time.monotonic() + PROBE_SECONDS
        found = {name: self._answer(name, until) for name in self._checks}
        is_ok = all(one.status == "ok" for one in found.values())
        return Health(
            status="ok" if is_ok else "failing",
            version=version("pipeline-platform"),
            environment=self._services.settings.environment,
            checked_at=utc_now(),
            dependencies=found,
        )

    def close(self) -> None:
        """Ask nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, name: str, until: float) -> Dependency:
        begun, asked = self._asked[name]
        try:
            details, milliseconds = asked.result(max(0.0, until - time.monotonic()))
        except FutureTimeoutError:
            reason = f"It has not answered for {time.monotonic() - begun:.0f} seconds."
        except PlatformError as error:
            reason = str(error)
        except Exception as error:
            # The text of a foreign error may hold an address with a password.
            reason = f"It failed with {type(error).__name__}; the service's log may say more."
        else:
            return Dependency(status="ok", milliseconds=milliseconds, details=dict(details))
        return Dependency(status="failing", milliseconds=_since(begun), reason=reason)

    def _database(self) -> Details:
        with self._services.database.connection() as connection:
            row = connection.execute(
                "SELECT open_count, active_count, max_connections FROM active_connections"
            ).fetchone()
        names = ("open_connections", "active_connections", "max_connections")
        return dict(zip(names, row or (), strict=False))

    def _lake(self) -> Details:
        return {"namespaces": len(self._services.lake.namespaces())}

    def _landing(self) -> Details:
        waiting = {}
        for pipeline in self._pipelines:
            state = self._services.landing(pipeline).observe("incoming")
            waiting[pipeline] = state.object_count
        return {"waiting_objects": waiting}

    def _dagster(self) -> Details:
        now = utc_now()
        ages = {one.daemon: one.age_seconds(now) for one in silent(self._instance, now)}
        if ages:
            told = [
                f"{daemon} ({'never' if age is None else f'{age:.0f} s ago'})"
                for daemon, age in ages.items()
            ]
            raise UnavailableError(
                f"The daemon is silent: {', '.join(told)}; start it with "
                "`pipeline-platform daemon`."
            )
        return {"silent_daemons": 0}

    def _disk(self) -> Details:
        shares: dict[str, object] = {}
        for name, disk in disks(self._services.settings).items():
            shares[f"{name}_free_pct"] = round(100 * disk.free / disk.total, 1)
            needed = min(LEAST_FREE_SHARE * disk.total, LEAST_FREE_BYTES)
            if disk.free < needed:
                raise UnavailableError(
                    f"The disk of {name} has {disk.free / 1e9:.1f} GB left, but {needed / 1e9:.1f}"
                    " GB must be free: see docs/operating.md."
                )
        return shares

    def _last_runs(self) -> Details:
        with self._services.database.connection() as connection:
            found = last_successes(connection)
        ended = {row["pipeline_id"]: row["ended_at"].isoformat() for row in found}
        return {"last_success_at": {name: ended.get(name) for name in self._pipelines}}


def _timed(check: Callable[[], Details]) -> Timed:
    begun = time.monotonic()
    return check(), _since(begun)


def _since(begun: float) -> float:
    return round(1000 * (time.monotonic() - begun), 1)
