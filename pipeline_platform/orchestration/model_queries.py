"""dbt's models in the log of queries: how long each took, and what of the lake it read (SW-23)."""

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_platform.lake.dbt_runs import DbtRun
from pipeline_platform.logged_queries import ERROR_LENGTH, keep_queries, scanned_of
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.lake_queries import LakeQuery


def log_models(services: Services, pipeline: str, run: DbtRun, models: Sequence[Any]) -> None:
    """Keep each model that dbt's engine ran, as a query named `dbt MODEL`.

    What it read are the pinned snapshots of its sources; models that it is made from are read where
    they were staged, and are in no snapshot yet.
    """
    keep_queries(
        services,
        [
            LakeQuery(
                uuid.uuid4(),
                pipeline,
                f"dbt {one.node.name}",
                _began_at(one),
                one.execution_time,
                _why(one),
                tuple(
                    scanned_of(table, pinned)
                    for name, (table, pinned) in run.sources.items()
                    if name in _sources(one.node.sources)
                ),
            )
            for one in models
            if one.status in ("success", "error")
        ],
    )


def _sources(named: Collection[Sequence[str]]) -> set[str]:
    """Return the tables that a model names, as `schema.table`."""
    return {".".join(parts) for parts in named}


def _why(result: Any) -> str | None:
    """Return what a model failed of, if it did."""
    return (
        " ".join(str(result.message).split())[:ERROR_LENGTH] if result.status == "error" else None
    )


def _began_at(result: Any) -> datetime:
    started = [one.started_at for one in result.timing if one.started_at is not None]
    if not started:
        return utc_now() - timedelta(seconds=result.execution_time)
    first: datetime = min(started)
    return first if first.tzinfo else first.replace(tzinfo=UTC)
