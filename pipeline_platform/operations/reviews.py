"""What a review looks at: sections of one page, each a question answered from what is stored.

A section knows nothing of Dagster; `orchestration.reviews` makes a job of some. What can't be
answered is said with its reason, never left out (B-14).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.capacity import outlooks
from pipeline_platform.operations.cost import DayCost
from pipeline_platform.operations.cost_readings import last_reading, stored_costs
from pipeline_platform.operations.growth import sampled_series, table_series
from pipeline_platform.operations.maintenance import leftovers
from pipeline_platform.runbook import Runbook
from pipeline_platform.services import Services
from pipeline_platform.warehouse.proposals import list_proposals

FORECAST_DAYS = 90
SHOWN_ROWS = 100
Row = Mapping[str, object]


@dataclass(frozen=True)
class Reviewed:
    """What a review is about: a pipeline's runbook, the time, and the runs that have not ended."""

    services: Services
    runbook: Runbook
    now: datetime
    unfinished_runs: Collection[str]


@dataclass(frozen=True)
class Section:
    """One part of a page: what was found as rows, or in a sentence why there are none."""

    title: str
    rows: Sequence[Row]
    sentence: str


SectionOf = Callable[[Reviewed], Section]


def cost_by_service(reviewed: Reviewed) -> Section:
    """Return what each service cost last month, against the month before (SW-41)."""
    last = reviewed.now.date().replace(day=1) - timedelta(days=1)
    month = last.replace(day=1)
    before_last = month - timedelta(days=1)
    title = f"Cost of {month:%Y-%m} by service"
    with reviewed.services.database.connection() as connection:
        reading = last_reading(connection)
        days = stored_costs(connection, month, last)
        days_before = stored_costs(connection, before_last.replace(day=1), before_last)
    if reviewed.services.settings.cost_source is None:
        return Section(title, (), "Not configured: set PLATFORM_COST_SOURCE.")
    if reading is None or not days:
        reason = reading.reason if reading and reading.reason else "no day of it was read"
        return Section(title, (), f"Not measurable: {reason}.")
    amounts, amounts_before = _by_service(days), _by_service(days_before)
    rows = [
        {
            "service": name,
            "cost": f"{amounts.get(name, Decimal(0)):.2f}",
            "month before": f"{amounts_before[name]:.2f}" if name in amounts_before else None,
        }
        for name in sorted({*amounts, *amounts_before}, key=lambda one: -amounts.get(one, 0))
    ]
    currency = next((day.currency for day in days if day.currency), "")
    total, total_before = sum(amounts.values()), sum(amounts_before.values())
    known = (
        f"{len(days)} of {last.day} days are known" if len(days) < last.day else "all days known"
    )
    sentence = f"{total:.2f} {currency}, {total_before:.2f} the month before; {known}."
    return Section(title, rows, sentence)


def temporary_files(reviewed: Reviewed) -> Section:
    """Return the files that the next clean-up removes, to be looked at before it does (SW-42)."""
    doomed = leftovers(
        reviewed.services.settings,
        reviewed.runbook,
        now=reviewed.now,
        unfinished_runs=reviewed.unfinished_runs,
    )
    rows = [
        {
            "file": one.path,
            "bytes": one.size_bytes,
            "written (UTC)": one.modified_at,
            "why": one.reason,
        }
        for one in doomed[:SHOWN_ROWS]
    ]
    size = sum(one.size_bytes for one in doomed)
    sentence = f"{len(doomed)} files of {size:,} bytes go with the next clean-up."
    return Section("Temporary files that nobody uses", rows, sentence)


def pending_proposals(reviewed: Reviewed) -> Section:
    """Return the proposals that nobody decided on (B-10)."""
    kept_days = reviewed.runbook.maintenance.proposals_kept_days
    with reviewed.services.database.connection() as connection:
        found = list_proposals(connection, reviewed.runbook.pipeline, SHOWN_ROWS)
    rows = [
        {"proposal": one.proposal_id, "table": one.table_name, "made (UTC)": one.created_at}
        for one in found
        if one.is_pending
    ]
    sentence = f"{len(rows)} wait; each is given up {kept_days} days after it was last touched."
    return Section("Proposals that wait", rows, sentence)


def capacity_of(tables: Sequence[LakeTable]) -> SectionOf:
    """Return the section on how tables, database and disk grow, and when a limit is met (SW-66)."""

    def section(reviewed: Reviewed) -> Section:
        services, today = reviewed.services, reviewed.now.date()
        series = [
            one
            for table in tables
            if services.lake.exists(table)
            for one in table_series(services, table, today)
        ]
        with services.database.connection() as connection:
            series += sampled_series(connection)
        limits = {name: one.limit for name, one in reviewed.runbook.capacity.items()}
        found = outlooks(series, limits, today=today, horizon_days=FORECAST_DAYS)
        crossing = [
            one for one in found if one.is_crossed or (one.crossing and one.crossing.median)
        ]
        sentence = f"{len(crossing)} of {len(limits)} limits are met within {FORECAST_DAYS} days."
        rows = [{"series": one.series.title, "outlook": one.sentence} for one in found]
        return Section("Capacity", rows, sentence)

    return section


def page_of(title: str, on: date, sections: Sequence[Section]) -> str:
    """Return a review as one page of Markdown."""
    parts = [f"# {title}, {on}"]
    for one in sections:
        parts += [f"## {one.title}", one.sentence]
        if one.rows:
            parts.append(_table(one.rows))
    return "\n\n".join(parts) + "\n"


def _by_service(days: Sequence[DayCost]) -> dict[str, Decimal]:
    amounts: dict[str, Decimal] = {}
    for day in days:
        for name, amount in day.services.items():
            amounts[name] = amounts.get(name, Decimal(0)) + amount
    return amounts


def _table(rows: Sequence[Row]) -> str:
    def line(cells: Sequence[object]) -> str:
        shown = ("-" if cell is None else str(cell).replace("|", "/") for cell in cells)
        return f"| {' | '.join(shown)} |"

    names = list(rows[0])
    return "\n".join(
        [line(names), line(["---"] * len(names)), *(line([*row.values()]) for row in rows)]
    )
