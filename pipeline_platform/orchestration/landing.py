"""The two first assets of every pipeline: what waits in `incoming/`, and the ingest to bronze."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from pipeline_platform.ingestion.files import FileOutcome, ingest_arrivals
from pipeline_platform.ingestion.intake import Intake
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.logs import told
from pipeline_platform.orchestration.compute import ComputeSize
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.metadata import asset_key, table_spec
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.services import Services

OUTCOMES_SHOWN = 200
_log = logging.getLogger(__name__)


class Arrivals(ComputeSize):
    """Which objects of `incoming/` to take; none means everything that waits."""

    keys: list[str] = Field(default_factory=list)


def landing_key(pipeline: str) -> dg.AssetKey:
    """Return the key of the asset that stands for a pipeline's `incoming/`."""
    return dg.AssetKey([pipeline, "landing", "incoming"])


def incoming_asset(pipeline: str) -> dg.SourceAsset:
    """Declare the asset that counts what waits in `incoming/` (SA-17)."""

    @dg.observable_source_asset(
        key=landing_key(pipeline), group_name=pipeline, description="Files that wait."
    )
    def incoming(services: ServicesParam) -> dg.ObserveResult:
        """Count what waits in `incoming/` and tell how long the oldest has waited."""
        state = services.landing(pipeline).observe("incoming")
        oldest = state.oldest_modified_at.isoformat() if state.oldest_modified_at else "none"
        return dg.ObserveResult(
            metadata={
                "files": state.object_count,
                "bytes": state.total_bytes,
                "oldest_modified_at": oldest,
            }
        )

    return incoming


def ingest_asset(
    table: LakeTable,
    intake_of: Callable[[Services, str], Intake],
    freshness_policy: dg.FreshnessPolicy | None = None,
) -> dg.AssetsDefinition:
    """Declare the asset that takes waiting files to bronze; `intake_of` gets services and run id.

    Bad files and lines go to quarantine, the rest goes on.
    """

    @dg.asset(
        key=list(table.asset_key),
        deps=[landing_key(table.pipeline)],
        group_name=table.pipeline,
        kinds={"iceberg"},
        description=table.description,
        metadata=table_spec(table).metadata,
        tags={"layer": table.layer},
        freshness_policy=freshness_policy,
    )
    def ingest(
        context: dg.AssetExecutionContext, config: Arrivals, services: ServicesParam
    ) -> dg.MaterializeResult[None]:
        with handled_failures(context):
            intake = intake_of(config.sized(services), context.run.run_id)
            outcomes = []
            for outcome in ingest_arrivals(intake, config.keys or None):
                context.log.info(
                    f"{outcome.name}: {outcome.status}. {outcome.reason or ''}".strip()
                )
                _log_outcome(outcome)
                outcomes.append(outcome)
        return dg.MaterializeResult(metadata=_metadata(outcomes))

    return ingest


def ingest_config(
    table: LakeTable, keys: Sequence[str], memory_limit: str | None = None
) -> dict[str, object]:
    """Return the run configuration that makes an ingest take exactly these objects."""
    config: dict[str, object] = {"keys": list(keys)}
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    return {"ops": {"__".join(asset_key(table).path): {"config": config}}}


def _log_outcome(outcome: FileOutcome) -> None:
    """Log what became of a file, by its hash."""
    is_well = outcome.status not in ("quarantined", "refused")
    _log.info(
        "A file is %s with %s rows, %s quarantined",
        outcome.status,
        outcome.published_rows,
        outcome.quarantined_rows,
        extra=told(
            status="success" if is_well else "error",
            partition=", ".join(outcome.partitions) or None,
            file_sha256=outcome.sha256,
        ),
    )


def _metadata(outcomes: Sequence[FileOutcome]) -> dict[str, Any]:
    lines = ["| file | outcome | rows | quarantined | reason |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.name.replace('|', '/')} | {one.status} | {one.published_rows}"
        f" | {one.quarantined_rows} | {(one.reason or '').replace('|', '/')} |"
        for one in outcomes[:OUTCOMES_SHOWN]
    ]
    return {
        "dagster/row_count": sum(one.published_rows for one in outcomes),
        "files": len(outcomes),
        "quarantined_files": sum(one.status == "quarantined" for one in outcomes),
        "quarantined_rows": sum(one.quarantined_rows for one in outcomes),
        "partitions": sorted({key for one in outcomes for key in one.partitions}),
        "outcomes": dg.MetadataValue.md("\n".join(lines)),
    }
