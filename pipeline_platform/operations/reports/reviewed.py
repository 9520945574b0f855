"""What a section is made from: a pipeline's runbook, a period, and what Dagster says at present."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from pipeline_platform.operations.latest_checks import Row, latest_checks
from pipeline_platform.operations.reports.pages import Section
from pipeline_platform.quality.thresholds import Severity
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services


@dataclass(frozen=True)
class Run:
    """A run of one of the pipeline's jobs; `ended_at` is None while it goes on."""

    run_id: str
    job: str
    status: str
    partitions: str | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None before its end."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class FailedRun:
    """A run whose failure nothing made good since, and why it failed.

    `subject` is what its incident names: the job, or the assets that it was started for.
    """

    run: Run
    subject: str
    why: str


@dataclass(frozen=True)
class LateAsset:
    """An asset that is later than its freshness allows (critical), or soon will be (warning).

    A severity of None says that nobody has judged it yet.
    """

    asset: str
    severity: Severity | None
    since: datetime | None


@dataclass(frozen=True)
class Present:
    """What Dagster says of a pipeline now: runs of the last day, and what is wrong.

    `unfinished_runs` are the ids of all runs of all pipelines that have not ended.
    """

    unfinished_runs: Collection[str] = ()
    runs: Sequence[Run] = ()
    failed: Sequence[FailedRun] = ()
    late: Sequence[LateAsset] = ()
    silent_daemons: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Reviewed:
    """What a page is about; its period is from `first` (included) to `end` (excluded)."""

    services: Services
    runbook: Runbook
    first: datetime
    end: datetime
    now: datetime
    present: Present

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self.runbook.pipeline

    @cached_property
    def checks(self) -> Sequence[Row]:
        """How each check ended last: asked once, so that all sections say the same."""
        with self.services.database.connection() as connection:
            return latest_checks(connection, self.runbook, self.now)


SectionOf = Callable[[Reviewed], Section]
