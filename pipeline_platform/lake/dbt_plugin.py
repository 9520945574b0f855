"""The plugin through which dbt-duckdb reads and stages tables of the lake.

In the profile: `plugins: [{module: pipeline_platform.lake.dbt_plugin, alias: lake}]`, path
`:memory:`, threads 1. A source says `meta: {plugin: lake, table: <namespace>.<name>}`; a model
says `materialized='external', plugin='lake', meta={'table': '<namespace>.<name>'}`. What to read
and where to write is in the run's file, see `dbt_runs`.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import SourceConfig, TargetConfig

from pipeline_platform.failures import InvalidSettingError, NotFoundError
from pipeline_platform.lake.dbt_runs import RUN_FILE_VARIABLE, note_model
from pipeline_platform.lake.engine import enable_s3, sql_name, written_files


class Plugin(BasePlugin):  # type: ignore[misc, unused-ignore]
    """Sources are pinned snapshots; external models are noted, to be published later."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:  # noqa: ARG002 - dbt's signature
        """Take the run's file and let dbt write to the run's staging folder."""
        self._run: dict[str, Any] = {}
        self._run_file = Path(os.environ.get(RUN_FILE_VARIABLE, ""))
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._connection: duckdb.DuckDBPyConnection | None = None
        if RUN_FILE_VARIABLE in os.environ:
            self._run = json.loads(self._run_file.read_text(encoding="utf-8"))
            if self.creds is not None:
                self.creds.external_root = self._run["staging"]

    def default_materialization(self) -> str:
        """Make sources views, spelt so that dbt-duckdb does not keep the relation itself.

        It would register a `view`'s object on each later cursor, where a relation of another
        cursor is refused; here later cursors find the view that `load` made under that name.
        """
        return "VIEW"

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Give dbt's DuckDB the limits that the platform's own connections have."""
        del creds
        config.update(self._run.get("engine", {}))

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Keep the connection, for views that all cursors see, and open S3 if needed."""
        self._connection = conn
        conn.execute("SET GLOBAL TimeZone = 'UTC'")
        if self._run.get("s3"):
            enable_s3(conn, **self._run["s3"])

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Remember the cursor on which dbt-duckdb is about to load a source."""
        self._of_thread.cursor = cursor

    def load(self, source_config: SourceConfig) -> duckdb.DuckDBPyRelation:
        """Return the rows of the pinned snapshot of the table that the source's meta names.

        Raises NotFoundError when the run did not pin it, InvalidSettingError outside of a run.
        """
        named = f"{source_config.schema}.{source_config.identifier}"
        table = source_config.meta.get("table", named)
        query = self._current_run()["sources"].get(table)
        if query is None or self._connection is None:
            raise NotFoundError(
                f"The source {table} is not among those that the dbt run pinned; "
                "give it to start_dbt_run."
            )
        name = source_config.table_name().replace(".", "_") + "_df"
        with self._lock, self._connection.cursor() as cursor:
            cursor.execute(f"CREATE OR REPLACE VIEW main.{sql_name(name)} AS {query}")
        cursor_of_dbt: duckdb.DuckDBPyConnection = self._of_thread.cursor
        return cursor_of_dbt.sql(query)

    def store(self, target_config: TargetConfig) -> None:
        """Note which files hold a model's rows; an empty model has none."""
        self._current_run()
        relation, location = target_config.relation, target_config.location
        if self._connection is None or location is None or location.format != "parquet":
            raise NotFoundError(
                f"The model {relation} was not written as Parquet; "
                "use materialized='external' with format='parquet'."
            )
        table = (target_config.config.get("meta") or {}).get("table")
        with self._lock, self._connection.cursor() as cursor:
            rows = cursor.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0]
            files = _files(cursor, location.path) if rows else []
            note_model(self._run_file, table or f"{relation.schema}.{relation.identifier}", files)

    def _current_run(self) -> dict[str, Any]:
        if not self._run:
            raise InvalidSettingError(
                f"The variable {RUN_FILE_VARIABLE} is not set; run dbt within a run that "
                "start_dbt_run made."
            )
        return self._run


def _files(cursor: duckdb.DuckDBPyConnection, location: str) -> list[str]:
    """Return the files below a location, which is one file or, if partitioned, a folder."""
    return [location] if location.endswith(".parquet") else written_files(cursor, location)
