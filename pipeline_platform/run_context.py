"""What every hop of every pipeline is given: services, its run, a clock and its runbook."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.warehouse import stops

T = TypeVar("T")


def utc_now() -> datetime:
    """Return the present instant, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class RunContext:
    """One run's surroundings; `clock` is passed in so that tests decide what time it is.

    A pipeline derives its own, with its own runbook and mappings by default.
    """

    services: Services
    run_id: str
    clock: Callable[[], datetime] = utc_now
    runbook: Runbook = field(kw_only=True)

    def now(self) -> datetime:
        """Return the instant to record."""
        return self.clock()

    def while_running(self, work: Iterable[T]) -> Iterator[T]:
        """Yield pieces of work as long as nobody stops the pipeline; then raise StoppedError."""
        return stops.while_running(self.services.database, self.runbook.pipeline, work)
