"""`pipeline-platform explain`: why a partition of a table is what it is (SP-63, SW-23)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date
from typing import Annotated, Any

import dagster as dg
import typer

from pipeline_platform.code_version import code_version
from pipeline_platform.commands.arguments import parse_month
from pipeline_platform.commands.code_location import CodeLocation, code_location
from pipeline_platform.commands.lake_tables import table_named, tables_of
from pipeline_platform.commands.output import AsJson
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.lineage import Commit, commits_to, inputs_of, last_commits
from pipeline_platform.lake.publications import UNDOES
from pipeline_platform.lake.reading import PartitionValue
from pipeline_platform.lake.reversion import Reversion, compare
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.history import partition_of

Row = Mapping[str, object]


@dataclass(frozen=True)
class Explanation:
    """What made a partition, how it was judged, and how it differs from the version before."""

    made_by: Row
    inputs: list[Row]
    checks: list[Row]
    difference: Row


def _parse_partition(text: str | date) -> date:
    """Read YYYY-MM-DD, or YYYY-MM for the first day of a month."""
    if isinstance(text, str) and text.count("-") == 2:
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a day; write YYYY-MM-DD.") from None
    return parse_month(text) if isinstance(text, str) else text


def explain(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Noun, or pipeline/layer/noun.")],
    partition: Annotated[
        date, typer.Argument(parser=_parse_partition, metavar="YYYY-MM-DD|YYYY-MM")
    ],
    as_json: AsJson = False,
) -> None:
    """Explain a partition: run, code and inputs that made it, its checks, what changed with it.

    Of the inputs it tells what came new since the version before: files, or the runs that
    published them. The difference is counted row by row.
    """
    with code_location() as location:
        named = table_named(table)
        found = _explained(location, named, partition)
        title = f"{'/'.join(named.asset_key)}, {found.made_by['partition']}"
        if as_json:
            show_facts(title, asdict(found), as_json=True)
            return
        show_facts(title, found.made_by, as_json=False)
        show_rows("Made from", found.inputs, as_json=False)
        passed = [one for one in found.checks if one["outcome"] == "pass"]
        left = [one for one in found.checks if one["outcome"] != "pass"]
        title = f"Of {len(found.checks)} checks {len(passed)} pass; the others"
        show_rows(title, left, as_json=False, empty="none.")
        show_facts("Against the version before", found.difference, as_json=False)


def _explained(location: CodeLocation, table: LakeTable, day: date) -> Explanation:
    key = dg.AssetKey(table.asset_key)
    held = partition_of(location.graph, key, day)
    value: PartitionValue = date.fromisoformat(held) if held else day
    if held is None and table.partition_by is None:
        value = None
    lake = location.services.lake
    commits = last_commits(lake, table, value, count=2)
    if not commits and held is None and isinstance(value, date):
        value = value.replace(day=1)  # bronze of a pipeline of months
        commits = last_commits(lake, table, value, count=2)
    if not commits:
        raise NotFoundError(
            f"{'/'.join(table.asset_key)} has no publication of {value} that is remembered; "
            "`partition-status` tells what there is."
        )
    return Explanation(
        _made_by(location, commits[0], value),
        list(_inputs(location, commits, value)),
        _checks(location, key, held),
        _difference(location, commits, value),
    )


def _made_by(location: CodeLocation, commit: Commit, value: PartitionValue) -> Row:
    properties = commit.publication.properties
    run = location.instance.get_run_by_id(commit.run_id)
    change = commit.changes[value]
    facts: dict[str, object] = {
        "partition": str(value or "all"),
        "run": commit.run_id,
        "job": None if run is None else run.job_name,
        "status": None if run is None else run.status.value,
        "published (UTC)": commit.publication.committed_at.astimezone(UTC),
        "snapshot": commit.publication.snapshot_id,
        "rows added": change.rows_added,
        "rows removed": change.rows_removed,
        "code": properties.get("code_version"),
        "code now": code_version(),
        "mappings": properties.get("mapping_versions"),
        "undoes run": properties.get(UNDOES),
    }
    return {name: one for name, one in facts.items() if one is not None}


def _inputs(
    location: CodeLocation, commits: Sequence[Commit], value: PartitionValue
) -> Iterator[Row]:
    """Yield each input, and what came new in it since the version before."""
    now = inputs_of(commits[0].publication.properties)
    names = _file_names(location, now.files)
    for sha256 in now.files:
        yield {
            "input": names.get(sha256, "unknown file"),
            "version": sha256[:12],
            "at (UTC)": None,
            "new since the version before": "the file itself",
        }
    before = inputs_of(commits[1].publication.properties) if len(commits) > 1 else None
    tables = {one.name: one for one in tables_of(commits[0].table.pipeline)}
    for name, snapshot in now.snapshots.items():
        table = tables.get(name)
        known = (
            {one.snapshot_id: one for one in location.services.lake.snapshots(table)}
            if table
            else {}
        )
        read = known.get(snapshot)
        yield {
            "input": name if table is None else "/".join(table.asset_key),
            "version": str(snapshot),
            "at (UTC)": read.committed_at.astimezone(UTC) if read else None,
            "new since the version before": _news(
                location, table, before.snapshots.get(name) if before else None, snapshot, value
            ),
        }


def _news(
    location: CodeLocation,
    table: LakeTable | None,
    before: int | None,
    now: int,
    value: PartitionValue,
) -> str:
    """Say what changed the partition in an input between two snapshots of it."""
    if table is None or before is None:
        return "everything" if before is None else "unknown"
    if before == now:
        return "nothing, the same snapshot"
    found: list[str] = []
    for commit in commits_to(location.services.lake, table, after=before):
        if value in commit.changes or table.partition_by is None:
            files = inputs_of(commit.publication.properties).files
            names = _file_names(location, files)
            found += [names.get(sha256, sha256[:12]) for sha256 in files] or [
                f"run {commit.run_id}"
            ]
        if commit.publication.snapshot_id == now:
            break
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return shown or "nothing of this partition"


def _file_names(location: CodeLocation, sha256s: Sequence[str]) -> dict[str, str]:
    if not sha256s:
        return {}
    with location.services.database.connection() as connection:
        return dict(
            connection.execute(
                "SELECT file_sha256, file_name FROM etl_processing_log WHERE file_sha256 = ANY(%s)",
                (list(sha256s),),
            ).fetchall()
        )


def _checks(location: CodeLocation, asset: dg.AssetKey, partition: str | None) -> list[Row]:
    keys = sorted(
        (key for key in location.graph.asset_check_keys if key.asset_key == asset),
        key=lambda key: key.name,
    )
    return [
        {
            "check": state.name,
            "outcome": state.outcome or "not evaluated",
            "severity": state.severity,
            "evaluated (UTC)": state.evaluated_at,
            "run": state.run_id,
            "why": state.description,
        }
        for state in location.history.checks(keys, partition)
    ]


def _difference(
    location: CodeLocation, commits: Sequence[Commit], value: PartitionValue
) -> Mapping[str, Any]:
    """Count the rows that the newest commit changed, and say whether code and inputs did."""
    newest = commits[0]
    before = Reversion(newest.table, {value: newest.parent_id}, newest.publication.snapshot_id)
    facts: dict[str, object] = {}
    if len(commits) > 1:
        properties, earlier = newest.publication.properties, commits[1].publication.properties
        facts = {
            "before, by run": commits[1].run_id,
            "before, published (UTC)": commits[1].publication.committed_at.astimezone(UTC),
            "code": "the same"
            if properties.get("code_version") == earlier.get("code_version")
            else f"{earlier.get('code_version')} before",
        }
    else:
        facts = {"before": "nothing that is remembered"}
    try:
        found = compare(location.services.lake, before)
    except NotFoundError as error:
        return {**facts, "rows": f"not comparable: {error}"}
    return {
        **facts,
        "rows now": found.rows_now,
        "rows before": found.rows_after,
        "rows that are new": found.rows_lost,
        "rows that are gone": found.rows_regained,
    }
