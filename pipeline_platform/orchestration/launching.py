"""Starts a workflow, or a failed run again, as the UI does: queued, begun by the daemon."""

import sys
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._core.remote_origin import CodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.tags import (
    PARENT_RUN_ID_TAG,
    ROOT_RUN_ID_TAG,
    TAGS_TO_MAYBE_OMIT_ON_RETRY,
)
from dagster._core.workspace.load_target import WorkspaceFileTarget

from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.orchestration.automation import WORKFLOW_TAG, range_tags
from pipeline_platform.orchestration.failures import FAILURE_TAG, STOPPED_TAG
from pipeline_platform.orchestration.history import partition_holding
from pipeline_platform.orchestration.instance import ROOT
from pipeline_platform.orchestration.pipeline_runs import FAILED
from pipeline_platform.orchestration.run_log import REQUEST_TAG
from pipeline_platform.orchestration.run_processes import PROCESS_TAG

_OF_ONE_RUN = frozenset(
    {
        *TAGS_TO_MAYBE_OMIT_ON_RETRY,
        FAILURE_TAG,
        STOPPED_TAG,
        PROCESS_TAG,
        REQUEST_TAG,
        "started_by",
    }
)
"""Tags that say how one run was begun and ended, and nothing of the run that does it again."""
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
            self._submit(run)

    def start_again(self, failed: dg.DagsterRun, *, actor: str) -> str:
        """Queue the steps of a failed run that did not succeed; return the new run's id (SW-18).

        Raises BadInputError for a run that did not fail.
        """
        if failed.status not in FAILED:
            raise BadInputError(
                f"Run {failed.run_id} ended as {failed.status.value}; only a run that failed or "
                "was cancelled is started again."
            )
        job = self.definitions.resolve_job_def(failed.job_name)
        if failed.asset_selection:
            job = job.get_subset(asset_selection=failed.asset_selection)
        steps, known = KnownExecutionState.build_resume_retry_reexecution(self.instance, failed)
        plan = create_execution_plan(
            job,
            failed.run_config,
            step_keys_to_execute=list(steps),
            known_state=known,
            tags=failed.tags,
        )
        root = failed.root_run_id or failed.run_id
        own = {name: value for name, value in failed.tags.items() if name not in _OF_ONE_RUN}
        run = self.instance.create_run_for_job(
            job,
            execution_plan=plan,
            run_config=failed.run_config,
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={
                **own,
                "started_by": actor,
                PARENT_RUN_ID_TAG: failed.run_id,
                ROOT_RUN_ID_TAG: root,
            },
            root_run_id=root,
            parent_run_id=failed.run_id,
            asset_selection=failed.asset_selection,
            remote_job_origin=self._remote_origin(job.name),
            job_code_origin=self._code_origin(job.name),
        )
        self._submit(run)
        return run.run_id

    def _submit(self, run: dg.DagsterRun) -> None:
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
