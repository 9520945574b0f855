"""`pipeline-platform reports`: the runbook's reports over control tables, server and lake."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline_platform.commands import control_reports, lake_reports, report_pages
from pipeline_platform.commands.arguments import (
    Day,
    Duration,
    FromDay,
    Instant,
    Limit,
    ToDay,
    Vendor,
    check_period,
    parse_duration,
    pipeline_named,
)
from pipeline_platform.commands.error_bins import error_bins
from pipeline_platform.commands.lake_tables import runbook_of
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
    plain_failures,
    services,
)
from pipeline_platform.commands.pipelines import ADVISORY, Pipeline
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.commands.seen_figures import show_seen
from pipeline_platform.operations.latest_checks import coverage, latest_checks
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse import reports as warehouse_reports
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.warehouse.database import connect, database_failures, reporting_url
from pipeline_platform.warehouse.figure_reads import record_read

app = typer.Typer(
    help="Morning, end of day, week and month; files, issues, partitions, reconciliation, checks."
)
app.command()(report_pages.morning)
app.command("end-of-day")(report_pages.end_of_day)
app.command()(report_pages.weekly)
app.command()(report_pages.monthly)
Status = Literal["PENDING", "COMPLETED", "BREACH", "MISSING_VENDOR", "MISSING_OURS"]
By = Literal["day", "type"]


@contextmanager
def _reading() -> Iterator[Connection]:
    """Lend a connection to the read replica where one is set, else to the database."""
    with plain_failures(), services() as opened:
        if opened.settings.reporting_database_url is None:
            with opened.database.connection() as connection:
                yield connection
        else:
            url = reporting_url(opened.settings)
            with closing(connect(url)) as connection, database_failures():
                yield connection


@app.command()
def files(
    hours: Annotated[float, typer.Option(min=0, help="How far back.")] = 24,
    as_json: AsJson = False,
) -> None:
    """List the files processed in the last hours, newest first (SA-25); `runs` lists Dagster's.

    By the beginning of its hash `impact`, `landing withdraw` and others know a file.
    """
    with _reading() as connection:
        found = warehouse_reports.recent_etl_runs(connection, utc_now(), days=hours / 24)
        if not as_json:
            found = [{**one, "file_sha256": one["file_sha256"][:12]} for one in found]
        show_rows(f"Files of the last {hours:g} hours", found, as_json=as_json, empty="none.")


@app.command()
def issues(
    by: Annotated[By, typer.Option(help="Count by day and severity, or by type.")] = "day",
    days: Annotated[float, typer.Option(min=0, help="How far back.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Count data-quality issues by day and severity (SA-27), or by type (SA-61)."""
    with _reading() as connection:
        report = (
            warehouse_reports.issues_by_day_and_severity
            if by == "day"
            else warehouse_reports.issues_by_type
        )
        found = report(connection, utc_now(), days=days)
        show_rows(f"Issues of the last {days:g} days", found, as_json=as_json, empty="none.")


@app.command("errors")
def recent_errors(
    since: Duration = timedelta(hours=2),
    width: Annotated[
        timedelta, typer.Option("--bin", parser=parse_duration, metavar="90s|5m|2h|7d")
    ] = timedelta(minutes=5),
    pipeline: Annotated[
        str | None, typer.Option(help="Only this one: its name or the beginning of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count held records and files, failed reads of streams and failed runs by time (SW-20)."""
    with plain_failures(), services() as opened:
        name = pipeline_named(pipeline) if pipeline else None
        found = error_bins(opened, since, width, name)
        show_rows(f"Errors by {width}", found, as_json=as_json)


@app.command()
def partitions(
    table: Annotated[str | None, typer.Option(help="Only those of this served table.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the partitions of the served tables of all pipelines, the largest first (SA-36)."""
    with _reading() as connection:
        found = warehouse_reports.partition_sizes(connection, table)
        show_rows("Partitions", found, as_json=as_json, empty="none.")


@app.command()
def checks(pipeline: Pipeline = ADVISORY, as_json: AsJson = False) -> None:
    """List how each check of a pipeline ended last; exit code 1 if one fails.

    `overdue` is one that was not evaluated within the interval that the runbook gives.
    """
    with _reading() as connection:
        runbook = runbook_of(pipeline_named(pipeline))
        found = latest_checks(connection, runbook, utc_now())
        show_rows("Checks, latest outcome", found, as_json=as_json)
        if not as_json:
            measured, count = coverage(found)
            console.print(f"{measured} of {count} checks were measured in time.", highlight=False)
    raise typer.Exit(FOUND_FAULTS if any(row["outcome"] == "fail" for row in found) else 0)


@app.command()
def ledger(
    file: Annotated[str | None, typer.Option(help="Only this file: its hash's beginning.")] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Only what does not balance.")] = False,
    limit: Limit = 100,
    pipeline: Pipeline = ADVISORY,
    as_json: AsJson = False,
) -> None:
    """Account for each file's records at each hop; exit code 1 if one was lost or doubled.

    arrived = published + quarantined + deduplicated + held late. Between the hops, what one
    published must arrive at the next: what is missing is `lost before`.
    """
    with _reading() as connection:
        name = pipeline_named(pipeline)
        found = control_reports.conservation(connection, name, file_sha256=file)
        shown = [row for row in found if row["imbalance"] or row["lost before"] or not faults]
        show_rows("Conservation ledger", shown[:limit], as_json=as_json, empty="no entry.")
        _say_limit(len(shown), limit)
    leaks = any(row["imbalance"] or row["lost before"] for row in found)
    raise typer.Exit(FOUND_FAULTS if leaks else 0)


@app.command()
def reconciliation(
    vendor: Vendor = None,
    first: FromDay = None,
    last: ToDay = None,
    status: Annotated[Status | None, typer.Option(help="Only this ruling.")] = None,
    limit: Limit = 100,
    csv: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write every row to this file instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List our returns beside the vendors', with difference, ruling and cause (SA-72)."""
    with plain_failures(), services() as opened:
        check_period(first, last)
        chosen = lake_reports.Figures(vendor, first, last, status)
        record_read(
            opened.database, "reports reconciliation", vendor=vendor, first=first, last=last
        )
        if csv is not None:
            count = lake_reports.write_reconciliation(opened, chosen, csv)
            console.print(f"{count} rows in {csv}.", markup=False, highlight=False)
            return
        found, total = lake_reports.reconciliation_rows(opened, chosen, limit)
        rows = found if as_json else [_for_people(row) for row in found]
        show_rows("Reconciliation", rows, as_json=as_json, empty="no figure.")
        _say_limit(total, limit)


@app.command()
def restatements(
    vendor: Vendor = None,
    first: FromDay = None,
    last: ToDay = None,
    material: Annotated[bool, typer.Option("--material", help="Only material ones.")] = False,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    seen: Annotated[
        bool,
        typer.Option(
            "--seen", help="When the old figure was served, who saw it, and what must follow."
        ),
    ] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List values and returns that a later delivery changed, the latest first (B-4)."""
    with plain_failures(), services() as opened:
        check_period(first, last)
        chosen = lake_reports.Figures(vendor, first, last, account=account)
        found, total = lake_reports.restatement_rows(opened, chosen, material, limit, seen=seen)
        if found:
            record_read(
                opened.database,
                "reports restatements",
                account=account,
                vendor=vendor,
                first=first,
                last=last,
            )
        if seen:
            show_seen(opened, found, as_json=as_json)
        else:
            show_rows("Restatements", found, as_json=as_json, empty="none.")
        _say_limit(total, limit)


@app.command("as-known")
def as_known(
    account: Annotated[str, typer.Argument(help="The account's number, as it is served.")],
    day: Day,
    at: Instant,
    as_json: AsJson = False,
) -> None:
    """Show what was known of an account and day at an instant, beside what is known now (B-4)."""
    with plain_failures(), services() as opened:
        _show_as_known(opened, account, day, at, as_json=as_json)


def _show_as_known(opened: Services, account: str, day: Day, at: Instant, *, as_json: bool) -> None:
    found = lake_reports.as_known_rows(opened, account, day, at)
    record_read(opened.database, "reports as-known", account=account, first=day, last=day)
    show_rows(f"{account}, {day}, as known at {at:%Y-%m-%d %H:%M:%S %Z}", found, as_json=as_json)


def _for_people(row: Mapping[str, Any]) -> dict[str, object]:
    """Shorten a row of the reconciliation to what fits on a screen."""
    return {
        "vendor": row["vendor"],
        "account": row["account_id"],
        "day": row["as_of_date"],
        "figure": f"{row['period']} {row['basis']}",
        "ours %": _rounded(row["our_return_pct"], 6),
        "vendor's %": _rounded(row["vendor_return_pct"], 6),
        "difference bps": _rounded(row["difference_bps"], 2),
        "tolerance": _rounded(row["tolerance_bps"], 2),
        "status": row["status"],
        "cause": row["cause"],
        "explanation": row["explanation"],
    }


def _rounded(value: Decimal | None, places: int) -> str | None:
    return None if value is None else f"{value:.{places}f}"


def _say_limit(total: int, limit: int) -> None:
    if total > limit:
        errors.print(f"{limit} of {total} rows are shown; --limit shows more.", highlight=False)
