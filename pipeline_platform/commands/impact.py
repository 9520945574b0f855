"""`pipeline-platform impact`: what a bad file, run or partition touched downstream (SA-68)."""

from collections.abc import Collection, Mapping
from datetime import UTC, date
from typing import Annotated

import dagster as dg
import typer

from pipeline_platform.commands.arguments import parse_day
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.lake_tables import all_tables, table_named, tables_of
from pipeline_platform.commands.output import AsJson, errors
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.commands.run_details import made_from, run_id_of
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.lake.lineage import Commit, commits_by, inputs_of
from pipeline_platform.lake.reversion import ALL, reversion_of
from pipeline_platform.operations.impact import (
    Start,
    Touched,
    readers_of,
    subjects_changed,
    subjects_of_files,
    subjects_of_partitions,
    touched_by,
)
from pipeline_platform.orchestration.history import assets_of, partition_of
from pipeline_platform.run_context import utc_now

MOST_SHOWN = 20
Row = Mapping[str, object]


def impact(
    file: Annotated[str | None, typer.Option(help="A file: its hash, or its beginning.")] = None,
    run: Annotated[str | None, typer.Option(help="A run: its id, or its beginning.")] = None,
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Noun, or pipeline/layer/noun.")
    ] = None,
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="The partition of --table."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what was made from something bad: tables, partitions, accounts, and who reads them.

    Give one of --file, --run, and --table with --partition. `published since` counts the
    partitions that a run has published after the bad rows came; all others are affected as soon
    as they are worked on.
    """
    with code_location() as location:
        if [file, run, table].count(None) != 2 or (table is None) != (partition is None):
            raise BadInputError("Give one of --file, --run, and --table with --partition.")
        if file is not None:
            starts, subjects = _of_file(location, file)
        elif run is not None:
            starts, subjects = _of_run(location, run_id_of(location, run))
        else:
            named = table_named(str(table))
            key = partition_of(location.graph, dg.AssetKey(named.asset_key), partition or _today())
            starts = [Start(named, frozenset({key or str(partition)}), None)]
            subjects = subjects_of_partitions(location.services, named, starts[0].partitions)
        _show(location, starts, sorted(subjects), as_json=as_json)


def _of_file(location: CodeLocation, prefix: str) -> tuple[list[Start], set[str]]:
    with location.services.database.connection() as connection:
        rows = connection.execute(
            "SELECT pipeline, file_sha256, partition_keys, published_at FROM etl_processing_log"
            " WHERE starts_with(file_sha256, %s) LIMIT 2",
            (prefix,),
        ).fetchall()
    if len(rows) != 1 or not prefix:
        found = "more than one file" if rows else "no file"
        raise NotFoundError(f"The hash {prefix!r} names {found}; `reports files` lists hashes.")
    pipeline, sha256, partitions, published_at = rows[0]
    tables = tables_of(pipeline)
    bronze = next(one for one in tables if one.layer == "bronze")
    if published_at is None:
        return [], set()
    start = Start(bronze, frozenset(partitions), published_at)
    return [start], subjects_of_files(location.services, tables, [sha256])


def _of_run(location: CodeLocation, run_id: str) -> tuple[list[Start], set[str]]:
    services, subjects = location.services, set[str]()
    by_table: dict[tuple[str, str, str], list[Commit]] = {}
    for commit in commits_by(services.lake, all_tables(), run_id):
        by_table.setdefault(commit.table.asset_key, []).append(commit)
    if not by_table:
        raise NotFoundError(f"Run {run_id} published nothing that is remembered.")
    starts = []
    for own in by_table.values():
        table = own[0].table
        keys = {str(value or ALL) for one in own for value in one.changes}
        starts.append(Start(table, frozenset(keys), own[0].publication.committed_at))
        if table.layer == "bronze":
            shas = {sha for one in own for sha in inputs_of(one.publication.properties).files}
            subjects |= subjects_of_files(services, tables_of(table.pipeline), shas)
        else:
            seen = own[-1].publication.snapshot_id
            subjects |= subjects_changed(services, reversion_of(own, seen))
    return starts, subjects


def _show(
    location: CodeLocation, starts: list[Start], subjects: list[str], *, as_json: bool
) -> None:
    if not starts:
        show_rows("Made from it", [], as_json=as_json, empty="nothing, it was never published.")
        return
    pipeline = starts[0].table.pipeline
    found = touched_by(location.services, starts, tables_of(pipeline), made_from(location))
    order = {tuple(key.path): n for n, key in enumerate(assets_of(location.graph, pipeline))}
    touched = sorted(found, key=lambda one: order.get(one.asset, len(order)))
    rows = [_row(location, one, as_json=as_json) for one in touched]
    first = [
        {
            "table": "/".join(one.table.asset_key),
            "partitions": _span(sorted(one.partitions), as_json=as_json),
            "since (UTC)": one.since.astimezone(UTC) if one.since else None,
        }
        for one in starts
    ]
    if as_json:
        document = {"starts": first, "made_from_it": rows, "accounts": subjects}
        show_facts("Impact", document, as_json=True)
        return
    show_rows("What is bad", first, as_json=False)
    show_rows("What is made from it", rows, as_json=False, empty="nothing.")
    show_rows(
        f"{len(subjects)} accounts or visitors",
        [{"name": ", ".join(subjects[:MOST_SHOWN])}] if subjects else [],
        as_json=False,
        empty="none.",
    )
    if len(subjects) > MOST_SHOWN:
        errors.print(f"{MOST_SHOWN} of {len(subjects)} are shown; --json has all.")


def _row(location: CodeLocation, one: Touched, *, as_json: bool) -> Row:
    key = dg.AssetKey(one.asset)
    is_served = one.asset[1] == "serving"
    is_last = not location.graph.get(key).child_keys
    return {
        "asset": key.to_user_string(),
        "partitions": _span(one.affected, as_json=as_json),
        "published since": None if is_served else _span(one.built, as_json=as_json),
        "by": list(one.runs) if as_json else [run[:13] for run in one.runs],
        "read by": _readers(location, one) if is_served else "people" if is_last else None,
    }


def _readers(location: CodeLocation, served: Touched) -> list[str]:
    """Return who reads a served table; PostgreSQL's has the name of its asset."""
    with location.services.database.connection() as connection:
        found = readers_of(connection, served.asset[-1])
    return found or ["only the platform's own role"]


def _span(keys: Collection[str], *, as_json: bool) -> object:
    known = list(keys)
    if as_json:
        return known
    if len(known) < 2:
        return ", ".join(known) or None
    return f"{known[0]} to {known[-1]} ({len(known)})"


def _today() -> date:
    return utc_now().date()
