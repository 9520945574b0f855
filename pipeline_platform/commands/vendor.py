"""`pipeline-platform vendor`: which vendors there are, check a file, evidence (SA-54, SA-64)."""

import calendar
from datetime import date
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from pipeline_platform.advisory_performance.causes import cluster
from pipeline_platform.advisory_performance.evidence import write_evidence_pack
from pipeline_platform.advisory_performance.relations import literal
from pipeline_platform.advisory_performance.run_context import shipped_mappings
from pipeline_platform.advisory_performance.tables import PIPELINE, RECONCILIATION
from pipeline_platform.advisory_performance.vendor_check import FileReport, RuleCount, check_file
from pipeline_platform.advisory_performance.vendors import VendorMapping, load_mappings
from pipeline_platform.commands.arguments import FromDay, ToDay, check_period
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    plain_failures,
    services,
)
from pipeline_platform.commands.printing import show_facts, show_rows, visible
from pipeline_platform.failures import NotFoundError
from pipeline_platform.partition_ranges import dates_in
from pipeline_platform.quality.quarantine import list_rows
from pipeline_platform.quality.quarantined_files import list_files
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.figure_reads import record_read

app = typer.Typer(help="Vendors, their mappings, and what to tell them.")
Mappings = Annotated[
    Path | None,
    typer.Option(
        "--mappings", exists=True, file_okay=False, help="Folder of mappings to try; else ours."
    ),
]
REJECTED = pa.schema(
    [
        ("file_sha256", pa.string()),
        ("file_name", pa.string()),
        ("vendor", pa.string()),
        ("line_number", pa.int64()),
        ("partition_key", pa.string()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("column_name", pa.string()),
        ("record", pa.string()),
    ]
)


@app.command("list")
def list_vendors(mappings: Mappings = None, as_json: AsJson = False) -> None:
    """List the vendors whose files can be read, and how their files are named."""
    with plain_failures():
        found = load_mappings(mappings) if mappings else shipped_mappings()
        rows = [
            {
                "vendor": one.vendor,
                "name": one.display_name,
                "format": one.format.kind,
                "file name": one.file_name.pattern,
                "example": one.file_name.example,
                "mapping version": one.version[:12],
            }
            for one in found.values()
        ]
        show_rows("Vendors", rows, as_json=as_json)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A delivered file.")],
    mappings: Mappings = None,
    as_json: AsJson = False,
) -> None:
    """Say which mapping applies to a file, what would be read, what fails, what to add (SA-54).

    Nothing is stored. The exit code is 1 if anything of the file would end up in quarantine.
    """
    with plain_failures():
        known = dict(load_mappings(mappings) if mappings else shipped_mappings())
        report = check_file(file, known, utc_now().date())
        show_facts(f"Check of {report.file_name}", _facts(report), as_json=as_json)
        if not as_json:
            _show_faults("Records that stay out", report.rejected)
            _show_faults("Values that get their record quarantined", report.refused_values)
            if report.suggestion:
                console.print("\nSuggested mapping:", style="bold")
                console.print(
                    visible(report.suggestion), markup=False, highlight=False, soft_wrap=True
                )
    raise typer.Exit(0 if report.is_good else FOUND_FAULTS)


@app.command()
def evidence(
    vendor: Annotated[str, typer.Argument(help="The vendor's name in our mappings.")],
    first: FromDay = None,
    last: ToDay = None,
    to_folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where to; <home>/evidence if not given.")
    ] = None,
) -> None:
    """Write what one sends to a vendor: breaks, rejected rows, both figures, causes (SA-64).

    Without days it covers the last month that was reconciled.
    """
    with plain_failures(), services() as opened:
        mapping = _known(vendor)
        check_period(first, last)
        period = _period(opened, first, last)
        folder = to_folder or opened.settings.home / "evidence"
        folder.mkdir(parents=True, exist_ok=True)
        record_read(
            opened.database, "vendor evidence", vendor=vendor, first=period[0], last=period[1]
        )
        archive = _write(opened, mapping, period, folder)
        console.print(f"Written: {archive}", markup=False, highlight=False, soft_wrap=True)


def _facts(report: FileReport) -> dict[str, object]:
    days = f"{report.first_day} to {report.last_day}" if report.first_day else None
    return {
        "vendor": report.vendor,
        "matched by": report.matched_by.replace("_", " "),
        "mapping version": report.mapping_version and report.mapping_version[:12],
        "refused by": report.failure_rule,
        "reason": report.failure,
        "records": report.arrived,
        "would reach bronze": report.published,
        "would be quarantined": report.quarantined,
        "record types": dict(report.record_types),
        "days": days,
        "accounts": report.account_count,
        "missing columns": list(report.missing_columns),
        "unknown columns": list(report.unknown_columns),
        "rejected": _counted(report.rejected),
        "refused values": _counted(report.refused_values),
        "suggestion": report.suggestion if report.suggestion is None else "see below",
        "is good": report.is_good,
    }


def _counted(rules: tuple[RuleCount, ...]) -> dict[str, int]:
    return {one.rule: one.count for one in rules}


def _show_faults(title: str, rules: tuple[RuleCount, ...]) -> None:
    rows = [
        {"rule": one.rule, "records": one.count, "for example": "\n".join(one.examples)}
        for one in rules
    ]
    if rows:
        show_rows(title, rows, as_json=False)


def _known(vendor: str) -> VendorMapping:
    mappings = shipped_mappings()
    if vendor not in mappings:
        raise NotFoundError(f"{vendor!r} is no vendor; choose from {', '.join(mappings)}.")
    return mappings[vendor]


def _period(opened: Services, first: date | None, last: date | None) -> tuple[date, date]:
    present = dates_in(opened.lake.partitions(RECONCILIATION))
    if not present:
        raise NotFoundError("Nothing was reconciled yet; `partitions process` does it.")
    anchor = last or first or max(present)
    end = anchor.replace(day=calendar.monthrange(anchor.year, anchor.month)[1])
    if first and not last:
        end = max(present)
        end = end.replace(day=calendar.monthrange(end.year, end.month)[1])
    return first or anchor.replace(day=1), last or max(end, first or end)


def _write(
    opened: Services, mapping: VendorMapping, period: tuple[date, date], folder: Path
) -> Path:
    months = (period[0].replace(day=1), period[1].replace(day=1))
    with opened.connect() as engine:
        figures = opened.lake.relation(engine, RECONCILIATION, months=months)
        mine = figures.filter(
            f"vendor = {literal(mapping.vendor)}"
            f" AND as_of_date BETWEEN DATE '{period[0]}' AND DATE '{period[1]}'"
        )
        rejected = engine.from_arrow(_rejected(opened, mapping.vendor))
        return write_evidence_pack(
            engine,
            folder,
            mapping.vendor,
            reconciliation=figures,
            rejected=rejected,
            clusters=cluster(engine, mine),
            period=period,
            now=utc_now(),
            file_names=_file_names(opened, mapping.vendor),
        )


def _rejected(opened: Services, vendor: str) -> pa.Table:
    """Return the vendor's held records, and its refused files as records without a line."""
    with opened.database.connection() as connection:
        held = [one.row for one in list_rows(connection, PIPELINE, vendor=vendor, limit=None)]
        files = list_files(connection, PIPELINE, limit=None)
    rows: list[dict[str, object]] = [
        {name: getattr(row, name) for name in REJECTED.names} for row in held
    ]
    rows += [
        {
            "file_sha256": file.file_sha256,
            "file_name": file.file_name,
            "vendor": vendor,
            "rule": file.rule,
            "reason": file.reason,
        }
        for file in files
        if file.vendor == vendor
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED)


def _file_names(opened: Services, vendor: str) -> dict[str, str]:
    with opened.database.connection() as connection:
        rows = connection.execute(
            "SELECT file_sha256, file_name FROM etl_processing_log"
            " WHERE pipeline = %s AND vendor = %s",
            (PIPELINE, vendor),
        ).fetchall()
    return dict(rows)
