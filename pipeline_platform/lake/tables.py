"""What a table of the lake is: its name, columns, partitioning and meaning."""

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

Layer = Literal["bronze", "silver", "gold"]


@dataclass(frozen=True)
class LakeTable:
    """Declaration of one Iceberg table.

    `partition_by` names at most one column, partitioned by identity (a DATE, or nothing);
    `sort_by` is the order of rows inside a data file; `description` is shown in Dagster's UI.
    """

    pipeline: str
    layer: Layer
    name: str
    schema: pa.Schema
    description: str
    partition_by: str | None = None
    sort_by: tuple[str, ...] = field(default_factory=tuple)

    @property
    def identifier(self) -> tuple[str, str]:
        """Namespace and name in the catalog, e.g. `advisory_performance_silver.valuations`."""
        return (f"{self.pipeline}_{self.layer}", self.name)

    @property
    def asset_key(self) -> tuple[str, str, str]:
        """The asset that writes the table: pipeline, layer, noun."""
        return (self.pipeline, self.layer, self.name)
