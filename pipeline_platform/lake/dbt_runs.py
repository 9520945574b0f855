"""dbt's part of stage, audit, publish: what is done before `dbt build`, and after it succeeded.

Before: `start_dbt_run` pins each source table to one snapshot and names a staging folder. During:
the plugin of DuckDB (`dbt_plugin`) or the adapter of Spark (`spark_adapter`) reads the pinned
snapshots and notes each external model's files; dbt's tests are the audit. After:
`publish_staged_models` commits. dbt needs neither catalog nor database: it finds everything in the
run's file, named by an environment variable, and with Spark in the session of `DbtRun.active`.
"""

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline_platform.failures import AuditFailedError, NotFoundError
from pipeline_platform.lake.engine import is_remote, local_temp, options
from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.reading import Pinned
from pipeline_platform.lake.spark import create_view, spark_columns, spark_session
from pipeline_platform.lake.staging import Staged, file_name_part, staging_location
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.settings import Settings

RUN_FILE_VARIABLE = "LAKE_DBT_RUN_FILE"
"""Environment variable that tells the plugin where the run's file is."""

INPUTS = "inputs"
"""Property of a publication: JSON object of source table to the snapshot that was read."""

Months = tuple[date, date]
_NOTES = "models.jsonl"


@dataclass(frozen=True)
class DbtRun:
    """One `dbt build`: its key, the snapshots it reads and the folders it writes to."""

    run_id: str
    partition: str
    inputs: Mapping[str, int | None]
    folder: Path
    staging: str
    settings: Settings
    sources: Mapping[str, tuple[LakeTable, Pinned]]

    @property
    def environment(self) -> dict[str, str]:
        """Variables to add to the environment of a dbt that runs as a process."""
        return {RUN_FILE_VARIABLE: str(self.folder / "run.json")}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Set the variables for a dbt in this process, and open Spark if that is the engine.

        One run at a time. Raises UnavailableError when Spark does not answer, or stopped to.
        """
        before = os.environ.get(RUN_FILE_VARIABLE)
        os.environ.update(self.environment)
        _forget_engine()
        try:
            with self._spark() if self.settings.engine == "spark" else nullcontext():
                yield
        finally:
            _forget_engine()
            if before is None:
                del os.environ[RUN_FILE_VARIABLE]
            else:
                os.environ[RUN_FILE_VARIABLE] = before

    @contextmanager
    def _spark(self) -> Iterator[None]:
        """Open a session whose temporary views are the pinned snapshots."""
        with spark_session(self.settings) as session:
            from pipeline_platform.lake import spark_adapter  # noqa: PLC0415 -- optional package

            spark_adapter.register()
            for table, pin in self.sources.values():
                name = spark_adapter.view_name(*table.identifier)
                columns = spark_columns(table.schema)
                create_view(session, name, columns, pin.files, row_count=pin.row_count)
            yield


def start_dbt_run(
    lake: Lake,
    *,
    run_id: str,
    partition: str,
    sources: Sequence[tuple[LakeTable, Months | None]],
) -> DbtRun:
    """Pin the source tables, each to its current snapshot and (if given) to some months.

    `partition` is the key of what the run will publish, as in `Lake.stage`.
    """
    settings = lake.settings
    # Whose it is stands in the path: what a killed run leaves is kept as its pipeline rules.
    owner = sources[0][0].pipeline if sources else "shared"
    name = f"{owner}/{file_name_part(run_id)}-{uuid.uuid4().hex[:8]}"
    folder = local_temp(settings) / "dbt" / name
    staging = f"{staging_location(settings)}/{name}"
    for place in [folder, *([] if is_remote(staging) else [Path(staging)])]:
        place.mkdir(parents=True)
    pinned = {_name(table): (table, lake.pin(table, months=months)) for table, months in sources}
    inputs = {source: pin.snapshot_id for source, (_, pin) in pinned.items()}
    content = {
        "run_id": run_id,
        "inputs": inputs,
        "staging": staging,
        "sources": {source: pin.query for source, (_, pin) in pinned.items()},
        "engine": options(settings),
        "s3": {"endpoint": settings.s3_endpoint, "region": settings.s3_region}
        if is_remote(staging)
        else None,
    }
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return DbtRun(
        run_id=run_id,
        partition=partition,
        inputs=inputs,
        folder=folder,
        staging=staging,
        settings=settings,
        sources=pinned,
    )


def pinned_snapshots(settings: Settings, table: LakeTable) -> set[int]:
    """Return the snapshots of a table that dbt runs of this machine were given to read.

    A killed run's folder pins them until the clean-up of temporary files removes it.
    """
    pinned = set()
    for path in (local_temp(settings) / "dbt").glob("*/*/run.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            continue  # it has just ended, or just begun: then it reads the current snapshot
        pinned.add(content.get("inputs", {}).get(_name(table)))
    return pinned - {None}


def publish_staged_models(
    lake: Lake,
    run: DbtRun,
    tables: Sequence[tuple[LakeTable, str | None]],
    *,
    properties: Mapping[str, str],
    audit: Callable[[Staged], None] | None = None,
) -> dict[str, Publication]:
    """Publish what a successful `dbt build` staged, one commit for each table.

    Each table comes with the filter of the rows that are replaced, as in `Lake.publish`, and
    `properties` are that function's; the pinned snapshots are added to them as `inputs`. `audit`
    is called with each table's staged rows before the first commit, and raises to stop all.
    Returns the publications by table name (`advisory_performance_gold.reconciliation`). Raises
    NotFoundError when a table's model was not built, AuditFailedError when a model was built whose
    table is not among `tables` or whose columns are not those declared.
    """
    stored = staged_files(run)
    unknown = sorted(set(stored) - {_name(table) for table, _ in tables})
    if unknown:
        raise AuditFailedError(
            f"dbt built {', '.join(unknown)}, which run {run.run_id} was not to publish; "
            "select other models or name their tables."
        )
    staged = []
    for table, _ in tables:
        if _name(table) not in stored:
            raise NotFoundError(
                f"dbt built no external model for {_name(table)} in run {run.run_id}; "
                "check the selection and that the model's meta names the table."
            )
        paths = stored[_name(table)]
        staged.append(lake.adopt(table, paths, run_id=run.run_id, partition=run.partition))
    if audit is not None:
        for rows in staged:
            audit(rows)
    marks = {**properties, INPUTS: json.dumps(run.inputs, sort_keys=True)}
    published = {
        _name(rows.table): lake.publish(rows, replace=replace, properties=marks)
        for rows, (_, replace) in zip(staged, tables, strict=True)
    }
    forget_dbt_run(run)
    return published


def forget_dbt_run(run: DbtRun) -> None:
    """Remove what a run left that is not to be published, or was; remote files go by age."""
    shutil.rmtree(run.folder, ignore_errors=True)
    if not is_remote(run.staging):
        shutil.rmtree(run.staging, ignore_errors=True)


def note_model(run_file: Path, table: str, files: Sequence[str]) -> None:
    """Note which files hold the rows of a table's model; an empty model has none."""
    with (run_file.parent / _NOTES).open("a", encoding="utf-8") as notes:
        notes.write(json.dumps({"table": table, "files": list(files)}) + "\n")


def _forget_engine() -> None:
    """Close the database that dbt-duckdb keeps in this process from one run to the next.

    The next run would parse its sources with the plugin of the run before.
    """
    connections = sys.modules.get("dbt.adapters.duckdb.connections")
    if connections is not None:
        connections.DuckDBConnectionManager.close_all_connections()


def staged_files(run: DbtRun) -> dict[str, list[str]]:
    """Return the files that `dbt build` staged for each table's model, from the run's notes."""
    notes = run.folder / _NOTES
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    stored = [json.loads(line) for line in lines]
    return {note["table"]: note["files"] for note in stored}


def _name(table: LakeTable) -> str:
    return ".".join(table.identifier)
