"""Which pages there are, over which period, and their sections: the same for all pipelines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_platform.failures import sentence_of
from pipeline_platform.operations.reports import costs, periods, reviews, state
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


Period = tuple[datetime, datetime]
"""From an instant (included) to another (excluded)."""


@dataclass(frozen=True)
class Report:
    """A page's title, its period if it is made now, and its sections in order."""

    title: str
    period: Callable[[datetime], Period]
    sections: Sequence[SectionOf]


def _last_month(now: datetime) -> Period:
    end = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    first = month_of(end.date() - ONE_DAY)
    return end.replace(year=first.year, month=first.month), end


def _last_day(now: datetime) -> Period:
    return now - ONE_DAY, now


def _last_week(now: datetime) -> Period:
    return now - timedelta(days=7), now


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
            costs.cost,
            periods.shown_tables,
        ),
    ),
    "weekly_report": Report(
        "Weekly report",
        _last_week,
        (*_QUESTIONS, *_WORK, periods.issues, costs.cost),
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
            reviews.security,
            reviews.retention,
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

    `first` is when the period begins, if not where the page's own does.
    """
    report = REPORTS[name]
    usual, end = report.period(now)
    reviewed = Reviewed(services, runbook, first or usual, end, now, present)
    sections = [_answered(section, reviewed) for section in report.sections]
    return Page(runbook.pipeline, name, report.title, now, sections)


def _answered(section: SectionOf, reviewed: Reviewed) -> Section:
    try:
        return section(reviewed)
    except Exception as error:  # one section must not take the others with it
        title = section.__name__.replace("_", " ").capitalize()
        return Section(f"{title}: not answered", (), sentence_of(error), kind="broken")
