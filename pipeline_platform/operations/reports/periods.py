"""What a pipeline did from one instant to another: files, records, errors, scores, runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import fmean
from typing import Any

from pipeline_platform.failures import PlatformError
from pipeline_platform.lake.engine import sql_name
from pipeline_platform.operations.reports.pages import Plot, Row, Section
from pipeline_platform.operations.reports.reviewed import Reviewed
from pipeline_platform.operations.service_levels import stored_figures
from pipeline_platform.runbook import ShownTable
from pipeline_platform.warehouse import period_figures as figures

SCORE_CHECK = "data_quality_score"
HISTORY = timedelta(days=14)
SHOWN_TABLE_ROWS = 14
READ_DAYS = 92
"""How far back the latest days of a table are looked for: a partition may be a month."""
_Query = Callable[[Any, str, datetime, datetime], list[figures.Row]]


def totals(reviewed: Reviewed) -> Section:
    """Return files, records and time per file, against the period before (SA-30, SA-31)."""
    before = reviewed.first - (reviewed.end - reviewed.first)
    with reviewed.services.database.connection() as connection:
        now = figures.file_totals(connection, reviewed.pipeline, reviewed.first, reviewed.end)
        then = figures.file_totals(connection, reviewed.pipeline, before, reviewed.first)
        days = figures.files_by_day(connection, reviewed.pipeline, reviewed.first, reviewed.end)
    names = {
        "files": "files",
        "refused_files": "refused files",
        "records": "records processed",
        "held_records": "records held",
        "mean_seconds": "mean seconds per file",
    }
    rows = [
        {"figure": words, "period": _rounded(now[name]), "period before": _rounded(then[name])}
        for name, words in names.items()
    ]
    sentence = f"{now['records']:,} records of {now['files']:,} files."
    shown = [
        Plot("Records by day", _by_day(days, "records"), kind="bars"),
        Plot("Mean seconds per file", _by_day(days, "mean_seconds")),
    ]
    return Section("Processed", rows, sentence, shown)


def vendors(reviewed: Reviewed) -> Section:
    """Return error rates by vendor, of files and of records (SA-32)."""
    found = _asked(reviewed, figures.files_by_vendor)
    rows = [
        {
            "vendor": one["vendor"],
            "files": one["files"],
            "refused %": _share(one["refused_files"], one["files"]),
            "records": one["records"],
            "held %": _share(one["held_records"], one["records"] + one["held_records"]),
        }
        for one in found
    ]
    return Section("Errors by vendor", rows, f"{len(rows)} vendors delivered.")


def quality_trend(reviewed: Reviewed) -> Section:
    """Return the score and each of its dimensions, with a plot of each (SA-33, SC-46)."""
    first = min(reviewed.first, reviewed.end - HISTORY)
    with reviewed.services.database.connection() as connection:
        found = figures.scores_by_day(
            connection, reviewed.pipeline, SCORE_CHECK, first, reviewed.end
        )
    dimensions: dict[str, list[tuple[date, float]]] = {}
    for one in found:
        dimensions.setdefault(one["dimension"], []).append((one["day"], one["score"]))
    threshold = reviewed.runbook.thresholds.get(SCORE_CHECK)
    limit = None if threshold is None else threshold.severest_first[-1].limit
    rows = [
        {
            "dimension": name,
            "mean": round(fmean(score for _, score in days), 4),
            "lowest": min(score for _, score in days),
            "latest": days[-1][1],
            "of": days[-1][0],
        }
        for name, days in dimensions.items()
    ]
    shown = [
        Plot(
            f"Score: {name}",
            [(day.isoformat(), score) for day, score in days],
            limit if name == "overall" else None,
        )
        for name, days in dimensions.items()
    ]
    if not rows:
        return Section("Quality", (), "Not measured: no score was observed in this time.")
    return Section("Quality", rows, f"Scores of {len(dimensions)} kinds.", shown)


def work_by_day(reviewed: Reviewed) -> Section:
    """Return ended runs and completed tasks of each day (SW-39)."""
    days = _asked(reviewed, figures.runs_by_day)
    tasks = sum(one["completed_tasks"] for one in days)
    sentence = f"{tasks:,} tasks of {sum(one['succeeded'] for one in days):,} runs were completed."
    shown = [
        Plot("Completed tasks by day", _by_day(days, "completed_tasks"), kind="bars"),
        Plot("Failed runs by day", _by_day(days, "failed"), kind="bars"),
    ]
    return Section("Work by day", days, sentence, shown)


def jobs(reviewed: Reviewed) -> Section:
    """Return duration of each job and its stages, the slowest first, against before (SC-48)."""
    before = reviewed.first - (reviewed.end - reviewed.first)
    with reviewed.services.database.connection() as connection:
        found = figures.runs_by_job(connection, reviewed.pipeline, reviewed.first, reviewed.end)
        earlier = {
            one["job"]: one["median_seconds"]
            for one in figures.runs_by_job(connection, reviewed.pipeline, before, reviewed.first)
        }
    rows = [
        {
            "job": one["job"],
            "runs": one["runs"],
            "failed": one["failed"],
            "median s": _rounded(one["median_seconds"]),
            "before": _rounded(earlier.get(one["job"])),
            "p95 s": _rounded(one["p95_seconds"]),
            "extraction s": _rounded(one["extraction_seconds"]),
            "transformation s": _rounded(one["transformation_seconds"]),
            "loading s": _rounded(one["loading_seconds"]),
        }
        for one in found
    ]
    return Section("Jobs, the slowest first", rows, f"{len(rows)} jobs ran.")


def failures(reviewed: Reviewed) -> Section:
    """Return why runs failed, the most frequent class first (SP-49)."""
    rows = _asked(reviewed, figures.failures_by_class)
    return Section("Why runs failed", rows, f"{sum(one['times'] for one in rows)} failed steps.")


def refusals(reviewed: Reviewed) -> Section:
    """Return by which rule records and files went to quarantine."""
    rows = _asked(reviewed, figures.refusals_by_rule)
    count = sum(one["records"] + one["files"] for one in rows)
    return Section("Put into quarantine", rows, f"{count:,} by {len(rows)} rules.")


def issues(reviewed: Reviewed) -> Section:
    """Return issues by day and severity of at least a week (SA-27)."""
    first = min(reviewed.first, reviewed.end - timedelta(days=7))
    with reviewed.services.database.connection() as connection:
        rows = figures.issues_by_day(connection, reviewed.pipeline, first, reviewed.end)
    count = sum(one["still_open"] for one in rows)
    return Section("Issues by day", rows, f"{count} are open.")


def hours(reviewed: Reviewed) -> Section:
    """Return what arrived by hour (SW-8)."""
    rows = _asked(reviewed, figures.arrivals_by_hour)
    count = sum(one["arrived"] for one in rows)
    points = [(one["hour"].astimezone(UTC).isoformat(), float(one["arrived"])) for one in rows]
    sentence = f"{count:,} records arrived, {sum(one['rejected'] for one in rows):,} were rejected."
    return Section(
        "Arrivals by hour", rows, sentence, [Plot("Records by hour", points, kind="bars")]
    )


def files(reviewed: Reviewed) -> Section:
    """Return the newest files with what became of them (SA-25)."""
    rows = _asked(reviewed, figures.latest_files)
    return Section("Newest files", rows, "" if rows else "None arrived.")


def service_level(reviewed: Reviewed) -> Section:
    """Return this month's and last month's incidents, recovery, availability and budget (SP-48)."""
    runbook = reviewed.runbook
    rows = [
        {
            "month": one.month,
            "incidents": one.incidents,
            "critical": one.critical,
            "detected after min": _rounded(one.detect_minutes),
            "recovered after min": _rounded(one.recover_minutes),
            "probed min": _rounded(one.probed_minutes, 0),
            "available %": _rounded(one.availability_pct, 3),
            "budget left min": _rounded(one.budget_left_minutes),
        }
        for one in stored_figures(reviewed.services, 2, reviewed.now, [runbook])
    ]
    sentence = f"Promised are {runbook.alerts.service_level.availability_pct:g} % availability."
    if rows[0]["available %"] is None:
        sentence = "Nobody watched this month: availability is not measured."
    elif not rows[0]["probed min"]:
        sentence += " No probe of the health was recorded this month: incidents alone tell."
    return Section("Service level", rows, sentence)


def shown_tables(reviewed: Reviewed) -> Section:
    """Return the latest days of the tables that the runbook puts on its pages."""
    rows: list[Row] = []
    shown: list[Plot] = []
    said: list[str] = []
    for wanted in reviewed.runbook.reports.tables:
        try:
            found = _latest_rows(reviewed, wanted)
        except PlatformError as error:
            said.append(f"{wanted.table}: {error}")
            continue
        said.append(f"{wanted.table}: {len(found)} rows.")
        rows += [{"table": wanted.table, **row} for row in found]
        shown += _plots_of(wanted, found)
    return Section(
        "Figures of its tables", rows, " ".join(said) or "The runbook names none.", shown
    )


def _latest_rows(reviewed: Reviewed, wanted: ShownTable) -> list[Mapping[str, Any]]:
    lake = reviewed.services.lake
    named = {f"{one.layer}/{one.name}": one for one in lake.tables(reviewed.pipeline)}
    table = named.get(wanted.table)
    if table is None:
        return []
    days = [name for name in wanted.columns if table.schema.field(name).type == "date32[day]"]
    today = reviewed.now.date()
    months = (today - timedelta(days=READ_DAYS), today) if table.partition_by else None
    columns = [sql_name(name) for name in wanted.columns]
    newest_first = [f"{sql_name(name)} DESC" for name in days[:1]]
    with reviewed.services.connect() as engine:
        relation = lake.relation(engine, table, months=months).project(", ".join(columns))
        latest = relation.order(", ".join([*newest_first, *columns])).limit(SHOWN_TABLE_ROWS)
        found: list[Mapping[str, Any]] = latest.to_arrow_table().to_pylist()
    return found


def _plots_of(wanted: ShownTable, rows: Sequence[Mapping[str, Any]]) -> Iterable[Plot]:
    """Draw each figure of a table that has one row a day."""
    if not rows:
        return
    dates = [name for name, value in rows[0].items() if isinstance(value, date)]
    if len(dates) != 1 or len({row[dates[0]] for row in rows}) < len(rows):
        return
    (day,) = dates
    for name in wanted.columns:
        points = [
            (row[day].isoformat(), float(row[name]))
            for row in reversed(rows)
            if isinstance(row[name], int | float | Decimal)
        ]
        yield Plot(f"{wanted.table}: {name}", points)


def _asked(reviewed: Reviewed, query: _Query) -> list[figures.Row]:
    with reviewed.services.database.connection() as connection:
        return query(connection, reviewed.pipeline, reviewed.first, reviewed.end)


def _by_day(days: Iterable[figures.Row], name: str) -> list[tuple[str, float]]:
    return [(one["day"].isoformat(), float(one[name])) for one in days if one[name] is not None]


def _share(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
