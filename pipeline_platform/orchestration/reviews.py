"""Reviews as Dagster sees them: a job whose sections are one page, scheduled by the runbook."""

from collections.abc import Callable, Sequence

import dagster as dg

from pipeline_platform.failures import PlatformError
from pipeline_platform.operations.reviews import Reviewed, Section, SectionOf, page_of
from pipeline_platform.orchestration.maintenance import maintenance_pool, unfinished_runs
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Runbook

__all__ = ["review_job"]


def review_job(
    name: str, sections: Sequence[SectionOf], load_runbook: Callable[[], Runbook]
) -> dg.JobDefinition:
    """Return the job `<pipeline>_<name>`, whose page is in the metadata of its one step.

    It changes nothing. A section that fails is told on the page, the others are answered, and the
    run fails. It and the pipeline's maintenance wait for each other (SW-40, X-9): they share a
    pool, so neither sees what the other has half done. `name` is the schedule's in the runbook.
    """
    runbook = load_runbook()
    pipeline, declared = runbook.pipeline, runbook.schedules[name]

    @dg.op(
        name=f"{pipeline}_{name}_page",
        description=declared.title,
        pool=maintenance_pool(pipeline),
    )
    def review(context: dg.OpExecutionContext, services: ServicesParam) -> None:
        """Answer one section after the other."""
        reviewed = Reviewed(services, load_runbook(), utc_now(), unfinished_runs(context.instance))
        answered: list[Section] = []
        failed: list[str] = []
        for section in sections:
            try:
                answered.append(section(reviewed))
            except PlatformError as error:
                failed.append(str(error))
                answered.append(Section("A section failed", (), str(error)))
        page = page_of(declared.title, reviewed.now.date(), answered)
        context.add_output_metadata({"page": dg.MetadataValue.md(page)})
        if failed:
            raise dg.Failure(
                description=f"{len(failed)} of {len(sections)} sections failed: {failed[0]}",
                metadata={"page": dg.MetadataValue.md(page)},
                allow_retries=False,
            )

    @dg.job(
        name=f"{pipeline}_{name}",
        description=f"{declared.title} ({', '.join(declared.requirements)})",
    )
    def job() -> None:
        review()

    return job
