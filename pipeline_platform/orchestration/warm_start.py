"""What each run would import or compute anew, done once in the process that runs are forked from.

Named in dagster.yaml's `preload` after the code location. Nothing here connects, opens or starts
anything: forked processes could neither share nor close it.
"""

import importlib

from pipeline_platform.orchestration.dbt import rehearse_build
from pipeline_platform.settings import Settings

IMPORTED_ON_FIRST_USE = (
    *("dagster._core.executor.in_process", "dagster._core.execution.plan.active"),
    *("dagster._core.storage.root", "dagster._core.storage.local_compute_log_manager"),
    *("dagster._core.instance.runs.run_domain", "dagster._core.op_concurrency_limits_counter"),
    "dagster._daemon.auto_run_reexecution.auto_run_reexecution",
    "pipeline_platform.orchestration.pooled_storage",
    *("sqlalchemy.dialects.postgresql.psycopg", "psycopg2.extras"),
    *("dbt.adapters.duckdb", "dbt.adapters.duckdb.environments.local", "dbt.task.build"),
    *("pipeline_platform.lake.dbt_plugin", "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"),
    *("pyarrow.dataset", "pyarrow.parquet", "pyarrow.pandas_compat", "zstandard", "upath"),
    *("pipeline_platform.lake.local_files", "pipeline_platform.lake.replacement"),
    *("fsspec.implementations.local", "babel.dates", "dbt_common.clients.agate_helper"),
)


def prepare() -> None:
    """Import what runs import on first use, and rehearse dbt's start."""
    for name in IMPORTED_ON_FIRST_USE:
        importlib.import_module(name)
    rehearse_build(Settings.from_env())
