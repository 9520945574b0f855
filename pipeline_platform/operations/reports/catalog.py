"""Which pages there are, over which period, and their sections: the same for all pipelines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_platform.failures import PlatformError
from pipeline_platform.operations.reports import periods, reviews, state
from pipeline_platform.operations.reports.pages import Page, Section
from pipeline_platform.operations.reports.reviewed import Present, Reviewed, SectionOf
from pipeline_platform.partition_ranges import ONE_DAY, month_of
from pipeline_platform.runbook import ReportName, Runbook
from pipeline_platform.services import Services

_QUESTIONS: Sequence[SectionOf] = (
    state.what_failed,
    state.what_is_late,
    state.what_waits_for_a_person,
    state.what_ran,
)
_WORK: Sequence[SectionOf] = (
    periods.totals,
    periods.vendors,
    periods.quality_trend,
    periods.work_by_day,
    periods.jobs,
    periods.failures,
    periods.refusals,
    periods.shown_tables,
    periods.service_level,
)


@dataclass(frozen=True)
class Report:
    """A page's title, when its period begins if it ends now, and its sections in order."""

    title: str
    first: Callable[[datetime], datetime]
    sections: Sequence[SectionOf]


def _last_month(now: datetime) -> datetime:
    first = month_of(month_of(now.date()) - ONE_DAY)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(year=first.year, month=first.month, day=1)


def _last_day(now: datetime) -> datetime:
    return now - ONE_DAY


REPORTS: Mapping[ReportName, Report] = {
    "morning_check": Report(
        "Morning check",
        _last_day,
        (
            *_QUESTIONS,
            state.all_checks,
            state.landing_zone,
            periods.files,
            periods.issues,
            periods.quality_trend,
        ),
    ),
    "end_of_day": Report(
        "End-of-day summary",
        _last_day,
        (
            *_QUESTIONS,
            periods.hours,
            periods.totals,
            periods.vendors,
            periods.refusals,
            periods.cost,
            periods.shown_tables,
        ),
    ),
    "weekly_report": Report(
        "Weekly report",
        lambda now: now - timedelta(days=7),
        (*_QUESTIONS, *_WORK, periods.issues, periods.cost),
    ),
    "monthly_review": Report(
        "Monthly review",
        _last_month,
        (
            *_QUESTIONS,
            reviews.cost_by_service,
            reviews.capacity,
            reviews.database_growth,
            reviews.temporary_files,
            reviews.maintenance_done,
            *_WORK,
        ),
    ),
}


def make_page(
    services: Services,
    runbook: Runbook,
    name: ReportName,
    present: Present,
    *,
    now: datetime,
    first: datetime | None = None,
) -> Page:
    """Answer one section after the other; one that can't be answered says why (B-14).

    `first` is when the period begins; without it as long ago as the page is about.
    """
    report = REPORTS[name]
    reviewed = Reviewed(services, runbook, first or report.first(now), now, present)
    sections = [_answered(section, reviewed) for section in report.sections]
    return Page(runbook.pipeline, name, report.title, now, sections)


def _answered(section: SectionOf, reviewed: Reviewed) -> Section:
    try:
        return section(reviewed)
    except PlatformError as error:
        title = section.__name__.replace("_", " ").capitalize()
        return Section(f"{title}: not answered", (), str(error), kind="broken")
