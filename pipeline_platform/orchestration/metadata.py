"""What Dagster's UI shows of a table: its columns and how many rows were written."""

from collections.abc import Sequence

import dagster as dg
import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable


def asset_key(table: LakeTable) -> dg.AssetKey:
    """Return the key of the asset that writes a table."""
    return dg.AssetKey(list(table.asset_key))


def table_spec(
    table: LakeTable,
    *,
    deps: Sequence[dg.AssetKey | dg.AssetDep] = (),
    freshness_policy: dg.FreshnessPolicy | None = None,
    kinds: set[str] | None = None,
) -> dg.AssetSpec:
    """Declare the asset of a lake table, with its columns and their types."""
    return dg.AssetSpec(
        key=asset_key(table),
        deps=deps,
        description=table.description,
        group_name=table.pipeline,
        kinds=kinds or {"iceberg", "duckdb"},
        tags={"layer": table.layer},
        freshness_policy=freshness_policy,
        metadata={
            "dagster/column_schema": column_schema(table.schema),
            "dagster/table_name": ".".join(table.identifier),
        },
    )


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return a schema as Dagster shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
