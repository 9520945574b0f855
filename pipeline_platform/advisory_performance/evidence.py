"""What one sends to a vendor: its differences, its rejected rows, and the figures of both (SA-64).

A pack is a zip archive, and the same files in a folder beside it. It holds what the vendor itself
delivered and what we make of it, nothing of our systems: columns are named one by one here.
"""

import csv
import html
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from pipeline_platform.advisory_performance.causes import CauseCluster
from pipeline_platform.advisory_performance.reconciliation import (
    BREACH,
    MISSING_VENDOR,
    reconciliation_report,
)
from pipeline_platform.advisory_performance.reconciliation_rates import Rates, rates
from pipeline_platform.advisory_performance.relations import as_view, literal
from pipeline_platform.failures import BadInputError

ROWS_AT_ONCE = 10_000
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

FIGURES_SQL = """account_id, as_of_date, period, basis,
    (our_return * 100)::DECIMAL(18, 10) AS our_return_pct,
    (vendor_return * 100)::DECIMAL(18, 10) AS vendor_return_pct,
    difference_bps, tolerance_bps"""


def write_evidence_pack(
    con: DuckDBPyConnection,
    folder: Path,
    vendor: str,
    *,
    reconciliation: DuckDBPyRelation,
    rejected: DuckDBPyRelation,
    clusters: Sequence[CauseCluster],
    period: tuple[date, date],
    now: datetime,
    file_names: Mapping[str, str] | None = None,
) -> Path:
    """Write the pack of one vendor and a period (both days included); return the archive's path.

    `reconciliation` has the columns of RECONCILIATION; `rejected` those of rejected records
    (file_sha256, file_name, vendor, line_number, partition_key, rule, reason, column_name,
    record). Rows of other vendors and days are left out; a rejected row without a month is kept.
    `file_names` maps a file's hash to its name. Rows are streamed, so memory does not grow with
    them. A pack of the same name is replaced.

    Files: README.md and summary.html (one page), breaches.csv, missing_figures.csv, causes.csv,
    rejected_rows.csv, and reconciliation.csv with every figure of the period (SA-72).
    Raises BadInputError for a vendor whose name can't be a file name or a period that ends before
    it starts.
    """
    first, last = period
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", vendor):
        raise BadInputError(
            f"The vendor {vendor!r} can't name a file; use letters, digits, '_' and '-'."
        )
    if last < first:
        raise BadInputError(f"The period ends on {last}, before it starts on {first}.")
    pack = folder / f"evidence-{vendor}-{first}-{last}"
    building = pack.with_name(pack.name + ".partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)

    mine = con.sql(f"""SELECT * FROM {as_view(reconciliation)} WHERE vendor = {literal(vendor)}
        AND as_of_date BETWEEN DATE '{first}' AND DATE '{last}'""")
    figures = as_view(mine)
    of_vendor = [one for one in clusters if one.vendor == vendor]
    _write_breaches(con, building / "breaches.csv", figures, file_names or {})
    _write_relation(
        building / "missing_figures.csv",
        con.sql(f"""SELECT account_id, as_of_date, period, basis,
            (our_return * 100)::DECIMAL(18, 10) AS our_return_pct
            FROM {figures} WHERE reconciliation_status = '{MISSING_VENDOR}'
            ORDER BY account_id, as_of_date, period"""),
    )
    _write_relation(
        building / "rejected_rows.csv",
        con.sql(f"""SELECT file_name, line_number, rule, reason, column_name, record, file_sha256
            FROM {as_view(rejected)} WHERE vendor = {literal(vendor)}
                AND (coalesce(partition_key, '') = '' OR partition_key BETWEEN
                    '{first.replace(day=1)}' AND '{last.replace(day=1)}')
            ORDER BY file_name, line_number"""),
    )
    _write_rows(
        building / "causes.csv",
        ("cause", "breach_count", "share_pct", "finding"),
        ((one.cause, one.count, round(one.share * 100, 2), one.sentence) for one in of_vendor),
    )
    write_reconciliation_report(con, building / "reconciliation.csv", mine)
    counted = rates(con, mine)
    rejected_count = _row_count(building / "rejected_rows.csv")
    lines = _summary(counted, rejected_count, of_vendor)
    _write_pages(building, f"Reconciliation with {vendor}, {first} to {last}", lines, now)
    return _archive(building, pack)


def write_reconciliation_report(
    con: DuckDBPyConnection, path: Path, reconciliation: DuckDBPyRelation
) -> int:
    """Write `reconciliation_report` as CSV that is safe to open (SA-72); return the row count."""
    return _write_relation(path, reconciliation_report(con, reconciliation))


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula.

    A text that begins with =, +, -, @ or a control character gets an apostrophe before it (OWASP,
    "CSV injection"); numbers and dates stay what they are.
    """
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([safe_cell(cell) for cell in row])
            count += 1
    return count


def _streamed(relation: DuckDBPyRelation) -> Iterator[tuple[Any, ...]]:
    while rows := relation.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _write_relation(path: Path, relation: DuckDBPyRelation) -> int:
    return _write_rows(path, relation.columns, _streamed(relation))


def _write_breaches(
    con: DuckDBPyConnection, path: Path, figures: str, file_names: Mapping[str, str]
) -> None:
    breaches = con.sql(f"""
        SELECT {FIGURES_SQL}, probable_cause, cause_detail, cause_residual_bps,
            vendor_line_number AS line_number, vendor_file_sha256 AS file_sha256
        FROM {figures} WHERE reconciliation_status = '{BREACH}'
        ORDER BY account_id, as_of_date, period, basis""")
    header = [*breaches.columns[:-2], "file_name", *breaches.columns[-2:]]
    rows = ((*row[:-2], file_names.get(row[-1], ""), *row[-2:]) for row in _streamed(breaches))
    _write_rows(path, header, rows)


def _row_count(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _percent(rate: float | None) -> str:
    return "not measurable" if rate is None else f"{rate:.2%}"


def _summary(counted: Rates, rejected: int, clusters: Sequence[CauseCluster]) -> list[str]:
    counts = counted.counts
    return [
        f"{counted.compared} figures were compared, {counted.violations} differ by more than the "
        f"tolerance ({_percent(counted.violation_rate)}); see breaches.csv.",
        f"{counts[MISSING_VENDOR]} figures were expected and did not come; see "
        "missing_figures.csv.",
        f"{rejected} rows could not be taken; file, line and reason are in rejected_rows.csv.",
        f"Pass rate of all reconcilable figures: {_percent(counted.pass_rate)}; every figure is "
        "in reconciliation.csv.",
        *(one.sentence for one in clusters),
    ]


def _write_pages(folder: Path, title: str, lines: Sequence[str], now: datetime) -> None:
    note = (
        "Returns are in percent, differences in basis points (0.01 percent), ours minus yours. "
        f"Prepared {now:%Y-%m-%d %H:%M} {now:%Z}."
    )
    bullets = "\n".join(f"- {line}" for line in lines)
    (folder / "README.md").write_text(f"# {title}\n\n{bullets}\n\n{note}\n", encoding="utf-8")
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    (folder / "summary.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        "<style>body{font-family:sans-serif;max-width:48rem;margin:2rem auto}</style>"
        f"<h1>{html.escape(title)}</h1><ul>{items}</ul><p>{html.escape(note)}</p></html>\n",
        encoding="utf-8",
    )


def _archive(building: Path, pack: Path) -> Path:
    """Zip the finished folder and put both in place, the archive last."""
    archive = pack.with_name(pack.name + ".zip")
    partial = pack.with_name(pack.name + ".zip.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(building.iterdir()):
            zipped.write(file, f"{pack.name}/{file.name}")
    shutil.rmtree(pack, ignore_errors=True)
    building.rename(pack)
    partial.rename(archive)
    return archive
