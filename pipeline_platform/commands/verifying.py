"""`pipeline-platform verify PIPELINE`: whether it is well again, waiting if told (SP-26)."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import typer

from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.lake_tables import tables_of
from pipeline_platform.commands.output import FOUND_FAULTS, show_facts, show_rows
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.operations.present import present_of
from pipeline_platform.operations.reports.pages import Row
from pipeline_platform.operations.reports.reviewed import Reviewed
from pipeline_platform.operations.reports.state import what_failed, what_is_late
from pipeline_platform.run_context import utc_now

SECONDS_BETWEEN_LOOKS = 5.0


def verify_pipeline(pipeline: str, within: timedelta | None, *, as_json: bool) -> NoReturn:
    """Say whether a pipeline is well: data fresh, checks green, nothing failed or late (SP-26).

    It also says what came last into silver. Exit code 1: something is not well, or was not in time.
    """
    with code_location() as location:
        name = pipeline_named(pipeline)
        wrong = until_well(lambda: _wrong(location, name), within or timedelta(0))
        news = list(_newest(location, name))
    if as_json:
        document = {"is_well": not wrong, "not_well": list(wrong), "newest": news}
        show_facts(name, document, as_json=True)
    else:
        show_rows(f"{name}: not well", wrong, as_json=False, empty="nothing, all is well.")
        show_rows("Newest in silver", news, as_json=False, empty="nothing was ever published.")
    raise typer.Exit(FOUND_FAULTS if wrong else 0)


def until_well(
    look: Callable[[], Sequence[Row]],
    within: timedelta,
    *,
    clock: Callable[[], datetime] = utc_now,
    pause: Callable[[float], object] = time.sleep,
) -> Sequence[Row]:
    """Look until nothing is wrong or the time is over; return what is wrong then."""
    end = clock() + within
    while (wrong := look()) and clock() < end:
        pause(SECONDS_BETWEEN_LOOKS)
    return wrong


def _wrong(location: CodeLocation, pipeline: str) -> list[Row]:
    """Return what the pages of the pipeline call failed or late."""
    now, runbook = utc_now(), runbooks()[pipeline]
    present = present_of(location.instance, runbook, now)
    reviewed = Reviewed(location.services, runbook, now - timedelta(days=1), now, now, present)
    return [*what_failed(reviewed).rows, *what_is_late(reviewed).rows]


def _newest(location: CodeLocation, pipeline: str) -> Iterator[Row]:
    for table in tables_of(pipeline):
        made = location.services.lake.last_publication(table) if table.layer == "silver" else None
        if made is not None:
            yield {
                "table": "/".join(table.asset_key),
                "published (UTC)": made.committed_at,
                "rows": made.row_count,
                "run": made.properties.get("run_id"),
            }
