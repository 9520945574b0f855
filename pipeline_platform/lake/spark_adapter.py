"""dbt-spark without a catalog: relations are temporary views, models are staged Parquet files.

dbt-spark's session method runs dbt's SQL in the process's Spark Connect session. What it lacks is
added here. It would list, and make, schemas and tables of a catalog that all runs share; and in
SQL only a table of that catalog can be written by partition, without its partition column. So a
relation is a temporary view of this run's session, and `stage_model` writes a model's files as
the lake wants them. The dispatching materialisation is in `dbt_project/macros`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters import spark
from dbt.adapters.base.meta import available
from dbt.adapters.spark import impl
from dbt.adapters.spark.relation import SparkRelation
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.functions import col

from pipeline_platform.lake.dbt_runs import RUN_FILE_VARIABLE, note_model
from pipeline_platform.lake.engine import enable_s3, written_files
from pipeline_platform.lake.spark import create_view, require_same_files

_FOLDER_COLUMN = "lake_partition"


def register() -> None:
    """Let dbt in this process use the adapter of this module for profiles of type `spark`."""
    spark.Plugin.adapter = SparkAdapter  # type: ignore[assignment, unused-ignore]


def view_name(schema: str | None, identifier: str | None) -> str:
    """Return the temporary view of a table or model; such a view can't lie in a schema."""
    return f"{schema}__{identifier}"


@dataclass(frozen=True, eq=False, repr=False)
class TemporaryView(SparkRelation):  # type: ignore[misc, unused-ignore]
    """A source or model of the run, as SQL names it."""

    def render(self) -> str:
        """Return the quoted name of the view."""
        return f"`{view_name(self.schema, self.identifier)}`"


class SparkAdapter(impl.SparkAdapter):  # type: ignore[misc, unused-ignore]
    """dbt-spark that asks no catalog and stages what models make."""

    Relation = TemporaryView

    def list_schemas(self, database: str) -> list[str]:  # noqa: ARG002 - dbt's signature
        """Return the profile's schema, which only names views, so that none is created."""
        return [self.config.credentials.schema]

    def list_relations_without_caching(self, schema_relation: Any) -> list[Any]:  # noqa: ARG002
        """Return none: a run's session begins empty."""
        return []

    @available  # type: ignore[misc, untyped-decorator, unused-ignore]
    def stage_model(
        self, relation: TemporaryView, sql: str, table: str, options: Mapping[str, str]
    ) -> None:
        """Write a query's rows to the run's staging folder and make them the relation's rows.

        `options` are the model's: rows are split into files by `partition_by`, if given. Later
        models and tests read the staged files, so that dbt's tests audit what will be published.
        Raises InvalidSettingError if the server wrote to a place that is not ours.
        """
        session = SparkSession.active()
        run_file = Path(os.environ[RUN_FILE_VARIABLE])
        run = json.loads(run_file.read_text(encoding="utf-8"))
        rows = session.sql(sql)
        name = view_name(relation.schema, relation.identifier)
        folder = f"{run['staging']}/{name}"
        partition = options.get("partition_by")
        if partition is None:
            rows.coalesce(1).write.parquet(folder)
        else:
            # Spark leaves the column that names a folder out of the file, hence a copy of it.
            split = rows.repartition(col(partition)).withColumn(_FOLDER_COLUMN, col(partition))
            split.write.partitionBy(_FOLDER_COLUMN).parquet(folder)
        with duckdb.connect() as con:
            if run["s3"]:
                enable_s3(con, **run["s3"])
            files = written_files(con, folder)
            row_count = _row_count(con, files)
        seen = session.read.schema(rows.schema).parquet(folder).count()
        require_same_files(name, seen=seen, expected=row_count)
        create_view(session, name, rows.schema, files, row_count=row_count)
        note_model(run_file, table, files)


def _row_count(con: duckdb.DuckDBPyConnection, files: list[str]) -> int:
    if not files:
        return 0
    counted = con.execute("SELECT sum(num_rows) FROM parquet_file_metadata(?)", [files])
    return int(counted.fetchall()[0][0])
