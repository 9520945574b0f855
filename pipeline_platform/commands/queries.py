"""`pipeline-platform queries`: what was asked of the lake, how long it took, what was read."""

from datetime import timedelta
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import Duration, Limit, pipeline_named
from pipeline_platform.commands.output import AsJson, plain_failures, services
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import NotFoundError
from pipeline_platform.run_context import utc_now
from pipeline_platform.warehouse import lake_queries
from pipeline_platform.warehouse.lake_queries import LakeQuery

app = typer.Typer(
    help="Queries over the lake: duration, files and bytes read, snapshots.", no_args_is_help=True
)
ALWAYS = timedelta(days=36_500)


@app.command("list")
def list_queries(
    pipeline: Annotated[
        str | None, typer.Option(help="Only this one: its name or the beginning of it.")
    ] = None,
    since: Duration = timedelta(days=1),
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List queries that the platform asked of the lake, the newest first (SW-23).

    Files, rows and bytes are those of the partitions that a query opens, as whole files.
    """
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        found = lake_queries.queries(
            connection,
            since=utc_now() - since,
            pipeline=pipeline_named(pipeline) if pipeline else None,
            limit=limit,
        )
        show_rows("Queries", [_row(one) for one in found], as_json=as_json, empty="none.")


@app.command()
def show(
    query: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """Show one query: what it read of each table, in which snapshot."""
    with plain_failures(), services() as opened, opened.database.connection() as connection:
        found = lake_queries.queries(connection, since=utc_now() - ALWAYS, beginning=query, limit=2)
        if len(found) != 1 or not query:
            what = "more than one query" if found else "no query that is remembered"
            raise NotFoundError(f"{query!r} is {what}; `queries list` lists them.")
        (one,) = found
        rows = [
            {
                "query": one.name,
                "seconds": round(one.seconds, 3),
                "table": read.table,
                "snapshot": read.snapshot_id,
                "files": read.files,
                "rows": read.rows,
                "bytes": read.bytes,
                "error": one.error,
            }
            for read in one.scanned
        ]
        show_rows(f"Query {one.query_id}", rows, as_json=as_json, empty="it read no table.")


def _row(one: LakeQuery) -> dict[str, object]:
    return {
        "query": str(one.query_id),
        "asked (UTC)": one.asked_at,
        "pipeline": one.pipeline,
        "name": one.name,
        "seconds": round(one.seconds, 3),
        "tables": [read.table.partition("/")[2] for read in one.scanned],
        "files": one.total("files"),
        "rows": one.total("rows"),
        "bytes": one.total("bytes"),
        "error": one.error,
    }
