"""Pages as Dagster sees them: an asset for each page of each pipeline, scheduled by its runbook."""

from collections.abc import Mapping

import dagster as dg

from pipeline_platform.operations.present import present_of
from pipeline_platform.operations.reports.catalog import REPORTS, make_page
from pipeline_platform.operations.reports.pages import Page, markdown
from pipeline_platform.orchestration.automation import (
    ExecutableDefinition,
    OwnSchedules,
    UnresolvedAssetJobDefinition,
    schedules_from_runbook,
)
from pipeline_platform.orchestration.maintenance import maintenance_pool
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import ReportName, Runbook, Schedule
from pipeline_platform.services import Services
from pipeline_platform.settings import Environment
from pipeline_platform.warehouse.report_pages import keep_page

__all__ = ["page_asset", "page_jobs", "page_key", "page_schedules"]

GROUP = "operations"
_SEES_MAINTENANCE: frozenset[ReportName] = frozenset({"weekly_report", "monthly_review"})


def page_key(pipeline: str, name: ReportName) -> dg.AssetKey:
    """Return the key of a pipeline's page; it is the platform's, so the pipeline stays complete."""
    return dg.AssetKey([GROUP, "reports", f"{pipeline}_{name}"])


def page_asset(runbook: Runbook, name: ReportName) -> dg.AssetsDefinition:
    """Return the asset that makes one page; it changes nothing but the page that is kept.

    A section that can't be answered is told on the page, the others are answered, and the run
    fails. A weekly or monthly page and the pipeline's maintenance wait for each other (SW-40, X-9):
    they share a pool, so neither sees what the other has half done.
    """
    pipeline, declared = runbook.pipeline, runbook.reports.pages[name]

    @dg.asset(
        key=page_key(pipeline, name),
        group_name=GROUP,
        description=f"{declared.title} ({', '.join(declared.requirements)})",
        pool=maintenance_pool(pipeline) if name in _SEES_MAINTENANCE else None,
    )
    def page(
        context: dg.AssetExecutionContext, services: ServicesParam
    ) -> dg.MaterializeResult[None]:
        now = utc_now()
        made = make_page(
            services, runbook, name, present_of(context.instance, runbook, now), now=now
        )
        with services.database.transaction() as connection:
            keep_page(connection, made.day, made.to_json(), made_at=now, run_id=context.run.run_id)
        metadata = _metadata(made, services)
        if made.unanswered:
            raise dg.Failure(
                description=f"{len(made.unanswered)} of {len(made.sections)} sections failed: "
                f"{made.unanswered[0]}",
                metadata=metadata,
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=metadata)

    return page


def page_jobs(runbook: Runbook) -> dict[str, UnresolvedAssetJobDefinition]:
    """Return the job `<pipeline>_<name>` of each page, by the page's name."""
    return {
        name: dg.define_asset_job(
            f"{runbook.pipeline}_{name}",
            selection=dg.AssetSelection.assets(page_key(runbook.pipeline, name)),
            description=runbook.reports.pages[name].title,
        )
        for name in REPORTS
    }


def page_schedules(
    runbook: Runbook, jobs: Mapping[str, ExecutableDefinition], environment: Environment
) -> list[dg.ScheduleDefinition]:
    """Return when a pipeline's pages are made, on or off as its runbook says."""
    declared: dict[str, Schedule] = {name: runbook.reports.pages[name] for name in REPORTS}
    return schedules_from_runbook(OwnSchedules(runbook.pipeline, declared), jobs, environment)


def _metadata(page: Page, services: Services) -> dict[str, dg.MetadataValue]:
    link = services.settings.api_url
    opened = {}
    if link is not None:
        address = f"{link.rstrip('/')}/reports/{page.pipeline}/{page.name}/{page.day}"
        opened["open"] = dg.MetadataValue.url(address)
    return {
        "verdict": dg.MetadataValue.text(page.verdict),
        **opened,
        "page": dg.MetadataValue.md(markdown(page)),
        "failed": dg.MetadataValue.int(page.count("failed")),
        "late": dg.MetadataValue.int(page.count("late")),
        "waits_for_a_person": dg.MetadataValue.int(page.count("waits")),
    }
