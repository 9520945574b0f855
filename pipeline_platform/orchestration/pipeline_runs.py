"""How a pipeline's runs ended: for the thresholds on success and failure (SA-12, SW-11, X-1).

A run that ended because somebody stopped the pipeline neither succeeded nor failed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from pipeline_platform.orchestration.automation import (
    ONE_PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
)
from pipeline_platform.orchestration.failures import STOPPED_TAG

FAILED = frozenset({dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED})
ENDED = FAILED | {dg.DagsterRunStatus.SUCCESS}
WORK_TAG = "platform/work_of"
"""Tag of the jobs that take in or compute something; its value is their pipeline.

Dagster can look for a tag, so that ten thousand runs of a minute's check are never read.
"""

AssetPartition = tuple[dg.AssetKey, str | None]


def work_tags(pipeline: str) -> dict[str, str]:
    """Return the tags of a job that takes in or computes something for a pipeline."""
    return {WORK_TAG: pipeline}


def belongs(run: dg.DagsterRun, pipeline: str) -> bool:
    """Tell whether a run is of a pipeline's job, or was started for assets of it (from the UI)."""
    selected = {key.path[0] for key in run.asset_selection or ()}
    return (
        pipeline in selected or run.job_name == pipeline or run.job_name.startswith(f"{pipeline}_")
    )


def is_work(run: dg.DagsterRun) -> bool:
    """Tell whether a run takes in or computes something: by its job, or assets chosen in the UI."""
    return WORK_TAG in run.tags or run.job_name == IMPLICIT_ASSET_JOB_NAME


@dataclass(frozen=True)
class PipelineRuns:
    """The runs of a pipeline that an instance remembers since some instant."""

    instance: dg.DagsterInstance
    pipeline: str
    since: datetime

    def ended(self) -> list[tuple[str, bool]]:
        """Return each ended run that took in or computed, and whether it succeeded (SA-12).

        Checks, maintenance and reports are left out: they run often, and their successes would
        hide that the work fails.
        """
        of_jobs = self._records(ENDED, tags=work_tags(self.pipeline))
        of_assets = self._records(ENDED, job_name=IMPLICIT_ASSET_JOB_NAME)
        return [
            (run.run_id, run.status == dg.DagsterRunStatus.SUCCESS)
            for run in (record.dagster_run for record in (*of_jobs, *of_assets))
            if belongs(run, self.pipeline)
        ]

    def unmended(self) -> list[str]:
        """Return the last failure of each job and partition range that nothing made good since.

        A failure is made good when every asset and partition that the run did not make was made
        later, by whatever run (as `History` judges them); that of a run that had none left to make
        by a later success of the same job over the same range (SW-11).
        """
        latest: dict[object, dg.RunRecord] = {}
        for record in self._records(FAILED):
            run = record.dagster_run
            if belongs(run, self.pipeline):
                latest.setdefault((run.job_name, run.asset_selection, *_range(run).items()), record)
        return [
            record.dagster_run.run_id
            for record in latest.values()
            if not self._is_made_good(record)
        ]

    def _records(
        self, statuses: Iterable[dg.DagsterRunStatus], **filters: object
    ) -> list[dg.RunRecord]:
        wanted = dg.RunsFilter(statuses=[*statuses], updated_after=self.since, **filters)  # type: ignore[arg-type]
        found = self.instance.get_run_records(wanted)
        return [one for one in found if STOPPED_TAG not in one.dagster_run.tags]

    def _is_made_good(self, failed: dg.RunRecord) -> bool:
        run = failed.dagster_run
        kinds = dg.DagsterEventType
        planned = dict(self._events(run.run_id, kinds.ASSET_MATERIALIZATION_PLANNED))
        made = dict(self._events(run.run_id, kinds.ASSET_MATERIALIZATION))
        owed = {key: number for key, number in planned.items() if key not in made}
        if owed:
            return all(self._made_after(asset, owed) for asset in {asset for asset, _ in owed})
        successes = dg.RunsFilter(
            job_name=run.job_name,
            statuses=[dg.DagsterRunStatus.SUCCESS],
            created_after=failed.create_timestamp,
            tags=_range(run),
        )
        return self.instance.get_runs_count(successes) > 0

    def _made_after(self, asset: dg.AssetKey, owed: dict[AssetPartition, int]) -> bool:
        """Tell whether an asset was made, in each partition that is owed, after it was planned."""
        numbers = {partition: at for (key, partition), at in owed.items() if key == asset}
        partitions = {one for one in numbers if one is not None}
        latest: dict[str | None, int] = {}
        if partitions:
            kind = dg.DagsterEventType.ASSET_MATERIALIZATION
            storage = self.instance.event_log_storage
            latest.update(storage.get_latest_storage_id_by_partition(asset, kind, partitions))
        if None in numbers:
            for record in self.instance.fetch_materializations(asset, limit=1).records:
                latest[None] = record.storage_id
        return all(latest.get(partition, -1) > at for partition, at in numbers.items())

    def _events(
        self, run_id: str, kind: dg.DagsterEventType
    ) -> Iterator[tuple[AssetPartition, int]]:
        cursor, has_more = None, True
        while has_more:
            page = self.instance.get_records_for_run(run_id, cursor=cursor, of_type=kind)
            cursor, has_more = page.cursor, page.has_more
            for record in page.records:
                event = record.event_log_entry.get_dagster_event()
                if event.asset_key is not None:
                    yield (event.asset_key, event.partition), record.storage_id


def _range(run: dg.DagsterRun) -> dict[str, str]:
    names = (ONE_PARTITION_TAG, RANGE_START_TAG, RANGE_END_TAG)
    return {name: run.tags[name] for name in names if name in run.tags}
