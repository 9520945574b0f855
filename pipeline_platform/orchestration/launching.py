"""Starts a pipeline's workflow over partitions as the UI does: queued, begun by the daemon."""

import sys
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._core.remote_origin import CodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.orchestration.automation import WORKFLOW_TAG, range_tags
from pipeline_platform.orchestration.history import partition_holding
from pipeline_platform.orchestration.instance import ROOT
from pipeline_platform.orchestration.run_log import REQUEST_TAG

REPOSITORY = "__repository__"
"""Dagster's name for the repository of a code location that is one `Definitions`."""


@dataclass(frozen=True)
class Workflows:
    """The workflow jobs of a code location, and the instance that starts them."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance

    @cached_property
    def jobs(self) -> dict[str, dg.JobDefinition]:
        """Each pipeline's workflow: the job with WORKFLOW_TAG."""
        return {
            job.tags[WORKFLOW_TAG]: job
            for job in self.definitions.resolve_all_job_defs()
            if WORKFLOW_TAG in job.tags
        }

    def partitions(self, pipeline: str, first: date, last: date) -> tuple[str, str]:
        """Return the keys of the partitions that hold the first and the last day.

        Raises NotFoundError for a pipeline without a workflow and for days that it has no
        partition for, BadInputError for days in the wrong order.
        """
        definition = self._job(pipeline).partitions_def
        if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
            raise NotFoundError(f"The workflow of {pipeline} has no partitions.")
        if last < first:
            raise BadInputError(f"The range ends on {last}, before it starts on {first}.")
        return (
            partition_holding(definition, first, pipeline),
            partition_holding(definition, last, pipeline),
        )

    def start(
        self,
        pipeline: str,
        first: date,
        last: date,
        *,
        run_id: str,
        actor: str,
        request_id: str = "",
    ) -> None:
        """Queue a run of the workflow over partitions; the same run id again changes nothing.

        `request_id` finds the request in the log that asked for the run.
        """
        run = self.instance.get_run_by_id(run_id)
        if run is None:
            job = self._job(pipeline)
            requested = {REQUEST_TAG: request_id} if request_id else {}
            run = self.instance.create_run_for_job(
                job,
                run_id=run_id,
                status=dg.DagsterRunStatus.NOT_STARTED,
                tags={**job.run_tags, **range_tags(first, last), "started_by": actor, **requested},
                remote_job_origin=self._remote_origin(job.name),
                job_code_origin=self._code_origin(job.name),
            )
        if run.status == dg.DagsterRunStatus.NOT_STARTED:
            # The coordinator only writes that the run is queued: it needs no workspace.
            self.instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]

    def _job(self, pipeline: str) -> dg.JobDefinition:
        if pipeline not in self.jobs:
            raise NotFoundError(
                f"{pipeline} has no workflow that can be started; these have: "
                f"{', '.join(sorted(self.jobs))}."
            )
        return self.jobs[pipeline]

    @cached_property
    def _location(self) -> CodeLocationOrigin:
        (location,) = WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
        return location

    def _remote_origin(self, job: str) -> RemoteJobOrigin:
        return RemoteRepositoryOrigin(self._location, REPOSITORY).get_job_origin(job)

    def _code_origin(self, job: str) -> JobPythonOrigin:
        target = self._location.loadable_target_origin
        pointer = ModuleCodePointer(
            str(target.module_name), str(target.attribute), target.working_directory
        )
        return JobPythonOrigin(
            job,
            RepositoryPythonOrigin(
                sys.executable, pointer, entry_point=DEFAULT_DAGSTER_ENTRY_POINT
            ),
        )
