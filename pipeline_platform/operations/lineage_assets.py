"""What the lineage exporter must know of Dagster: which assets there are, and whose run it was."""

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from pipeline_platform.operations.lineage_export import LineageExport
from pipeline_platform.services import Services

LAYERS = ("bronze", "silver", "gold", "serving")


def lineage_export(
    services: Services, graph: AssetGraph, instance: dg.DagsterInstance
) -> LineageExport:
    """Return the exporter for the tables of a code location, from bronze to what is served."""

    def job_of(run_id: str) -> str | None:
        run = instance.get_run_by_id(run_id)
        return None if run is None else run.job_name

    keys = [key for key in graph.toposorted_asset_keys if len(key.path) == 3]
    parents = {tuple(one.path): graph.get(one).parent_keys for one in keys if one.path[1] in LAYERS}
    made_from = {
        key: [tuple(parent.path) for parent in sorted(found)] for key, found in parents.items()
    }
    return LineageExport(services, made_from, job_of)
