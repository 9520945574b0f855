"""`reports restatements --seen`: who saw the old figure, and what the policy asks for (B-4)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_platform.advisory_performance.measurement import materiality_of
from pipeline_platform.advisory_performance.restatements import Materiality
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.seen_figures import remedy, served_span
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.commands.output import errors
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.operations.impact import readers_of
from pipeline_platform.partition_ranges import month_of, partition_key
from pipeline_platform.services import Services
from pipeline_platform.warehouse.control import Connection
from pipeline_platform.warehouse.figure_reads import ServedLoad, loads_of, reads_of

Row = Mapping[str, Any]
_SERVED = {True: "yes", False: "never", None: "not recorded"}


def show_seen(opened: Services, restatements: Sequence[Row], *, as_json: bool) -> None:
    """Print restatements with the span in which the old figure was served, readers and remedy."""
    with opened.database.connection() as connection:
        roles = readers_of(connection, "performance_data")
        months = {_month(one) for one in restatements}
        loads = {month: loads_of(connection, PIPELINE, month) for month in months}
        policy = materiality_of(load_runbook())
        rows = [_seen(connection, one, loads[_month(one)], policy, roles) for one in restatements]
    if as_json:
        show_rows("Who saw the old figure", rows, as_json=True)
        return
    shown = [_for_people(row) for row in rows]
    show_rows("Who saw the old figure", shown, as_json=False, empty="no restatement.")
    errors.print(
        f"By SQL it could be read by: {', '.join(roles) or 'the platform itself only'}. "
        "Who did is known to the server only, if it audits reads.",
        markup=False,
        highlight=False,
    )


def _month(row: Row) -> str:
    return partition_key(month_of(row["as_of_date"]))


def _seen(
    connection: Connection,
    row: Row,
    loads: Sequence[ServedLoad],
    policy: Materiality,
    roles: list[str],
) -> dict[str, object]:
    served = served_span(row["old_in_gold"], row["new_in_gold"], loads)
    asked = remedy(row["measure"], row["difference_bps"], row["is_material"], served, policy)
    # Commands that read the lake show a figure before it is served.
    reads = reads_of(
        connection,
        row["account_id"],
        row["vendor"],
        row["as_of_date"],
        since=row["previously_known_from"],
        until=row["restated_at"] if served.is_served is False else served.until,
    )
    return {
        **{name: value for name, value in row.items() if not name.endswith("_in_gold")},
        "was_served": _SERVED[served.is_served],
        "served_since": served.since,
        "served_until": served.until,
        "reads": [
            {"read_at": one.read_at.isoformat(), "reader": one.reader, "command": one.command}
            for one in reads
        ],
        "may_read_by_sql": roles,
        "notify": list(asked.notify),
        "reissue": asked.is_reissued,
    }


def _for_people(row: Row) -> dict[str, object]:
    until = row["served_until"]
    readers: dict[str, dict[str, None]] = {}
    for one in row["reads"]:
        readers.setdefault(one["reader"], {})[one["command"]] = None
    return {
        "account": row["account_id"],
        "day": row["as_of_date"],
        "measure": row["measure"],
        "old": f"{row['previous_value'].normalize():f}",
        "new": f"{row['restated_value'].normalize():f}",
        "material": "yes" if row["is_material"] else "",
        "served": row["was_served"],
        "since (UTC)": row["served_since"],
        "until (UTC)": "now" if until is None and row["was_served"] == "yes" else until,
        "handed out to": [f"{who} ({', '.join(by)})" for who, by in readers.items()],
        "notify": row["notify"],
        "reissue": "yes" if row["reissue"] else "",
    }
