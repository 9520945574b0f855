"""What a monthly review asks beside the figures of its month.

What can't be answered is said with its reason, never left out (B-14).
"""

from pipeline_platform.operations.capacity import outlooks
from pipeline_platform.operations.growth import series_of
from pipeline_platform.operations.maintenance import leftovers
from pipeline_platform.operations.reports.costs import cost_of
from pipeline_platform.operations.reports.pages import Plot, Row, Section
from pipeline_platform.operations.reports.reviewed import Reviewed
from pipeline_platform.operations.retention import Retention, row_of
from pipeline_platform.operations.security import OUTCOMES, worst_first
from pipeline_platform.operations.security_reviews import latest_review
from pipeline_platform.partition_ranges import ONE_DAY, month_of, shifted
from pipeline_platform.warehouse.maintenance_log import recent_maintenance
from pipeline_platform.warehouse.period_figures import growth_by_month

FORECAST_DAYS = 90
GROWTH_MONTHS = 6
SHOWN_DAYS = 180
SHOWN_MAINTENANCE = 30


def cost_by_service(reviewed: Reviewed) -> Section:
    """Return what each service cost last month, against the month before (SW-41, SA-49)."""
    last = month_of(reviewed.now.date()) - ONE_DAY
    month = month_of(last)
    title = f"Cost of {last:%Y-%m} by service"
    return cost_of(reviewed, title, month, last, month_of(month - ONE_DAY))


def temporary_files(reviewed: Reviewed) -> Section:
    """Return the files that the next clean-up removes, to be looked at before it does (SW-42)."""
    doomed = leftovers(
        reviewed.services.settings,
        reviewed.runbook,
        now=reviewed.now,
        unfinished_runs=reviewed.present.unfinished_runs,
    )
    rows = [
        {
            "file": one.path,
            "bytes": one.size_bytes,
            "written (UTC)": one.modified_at,
            "why": one.reason,
        }
        for one in doomed
    ]
    size = sum(one.size_bytes for one in doomed)
    sentence = f"{len(doomed)} files of {size:,} bytes go with the next clean-up."
    return Section("Temporary files that nobody uses", rows, sentence)


def capacity(reviewed: Reviewed) -> Section:
    """Return how tables, database and disk grow, and when a limit is met (SW-66, SA-50)."""
    services, today = reviewed.services, reviewed.now.date()
    series = series_of(services, [reviewed.pipeline], today)
    limits = {name: one.limit for name, one in reviewed.runbook.capacity.items()}
    found = outlooks(series, limits, today=today, horizon_days=FORECAST_DAYS)
    crossing = [one for one in found if one.is_crossed or (one.crossing and one.crossing.median)]
    sentence = f"{len(crossing)} of {len(limits)} limits are met within {FORECAST_DAYS} days."
    rows: list[Row] = [{"series": one.series.title, "outlook": one.sentence} for one in found]
    shown = []
    for one in found:
        observed = list(zip(one.series.days, one.series.values, strict=True))[-SHOWN_DAYS:]
        points = [(day.isoformat(), value) for day, value in observed]
        shown.append(Plot(one.series.title, points, one.limit))
    return Section("Capacity", rows, sentence, shown)


def database_growth(reviewed: Reviewed) -> Section:
    """Return rows and size by month of the tables that the runbook names (SA-48, D-3)."""
    first = shifted(month_of(reviewed.now.date()), 1 - GROWTH_MONTHS)
    since = reviewed.now.replace(
        year=first.year, month=first.month, day=1, hour=0, minute=0, second=0, microsecond=0
    )
    rows: list[Row] = []
    with reviewed.services.database.connection() as connection:
        for table in reviewed.runbook.reports.growing_tables:
            found = growth_by_month(connection, table, since)
            rows += [{"table": table, **one} for one in found]
    sentence = f"By month of created_at, the last {GROWTH_MONTHS} months."
    return Section("Growth of the database", rows, sentence)


def security(reviewed: Reviewed) -> Section:
    """Return what the newest security review found, what fails first (SA-50, SW-40)."""
    with reviewed.services.database.connection() as connection:
        done = latest_review(connection)
    if done is None:
        sentence = "Not measurable: nobody reviewed it; `pipeline-platform security review` does."
        return Section("Security", (), sentence)
    found = worst_first(done.findings)
    rows: list[Row] = [
        {
            "aspect": one.aspect,
            "subject": one.subject,
            "outcome": one.outcome,
            "why": one.sentence,
        }
        for one in found
    ]
    counts = [f"{sum(one.outcome == name for one in found)} {name}" for name in OUTCOMES]
    return Section("Security", rows, f"{', '.join(counts)}; {done.reviewed_at:%Y-%m-%d}.")


def retention(reviewed: Reviewed) -> Section:
    """Return how old what is kept is, against how long it may be kept (SA-45)."""
    wanted = Retention.of(
        reviewed.services, reviewed.now, "review", None, lambda: reviewed.present.unfinished_runs
    )
    found = list(wanted.look())
    rows: list[Row] = [row_of(one) for one in found]
    going = sum(one.going > 0 for one in found)
    return Section("Retention", rows, f"{going} of {len(found)} places hold what may go.")


def maintenance_done(reviewed: Reviewed) -> Section:
    """Return what maintenance did to the tables of late, the newest first."""
    with reviewed.services.database.connection() as connection:
        found = recent_maintenance(connection, reviewed.pipeline, SHOWN_MAINTENANCE)
    failed = sum(one["outcome"] == "FAILED" for one in found)
    return Section("Maintenance", found, f"{failed} of the last {len(found)} failed.")
