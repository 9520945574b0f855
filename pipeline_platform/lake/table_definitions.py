"""Iceberg tables made, and extended, to what their declarations say."""

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline_platform.failures import ConflictError, PermanentError
from pipeline_platform.lake.column_types import iceberg_type
from pipeline_platform.lake.tables import LakeTable, Layer

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

NAME_MAPPING = "schema.name-mapping.default"


def stored_table(pipeline: str, layer: Layer, found: "Table") -> LakeTable:
    """Return the declaration that a table of the catalog is as good as."""
    schema, spec = found.schema(), found.spec().fields
    columns = [
        # PyIceberg calls every text large.
        column.with_type(pa.string()) if pa.types.is_large_string(column.type) else column
        for column in schema.as_arrow()
    ]
    return LakeTable(
        pipeline,
        layer,
        found.name()[-1],
        pa.schema(columns),
        "",
        schema.find_column_name(spec[0].source_id) if spec else None,
    )


def create_table(catalog: "Catalog", declared: LakeTable, location: str) -> "Table":
    """Create a table with its namespace; return the present one if another process was faster."""
    from pyiceberg.exceptions import (  # noqa: PLC0415 - slow import
        NamespaceAlreadyExistsError,
        TableAlreadyExistsError,
    )
    from pyiceberg.partitioning import PartitionField, PartitionSpec  # noqa: PLC0415
    from pyiceberg.table.sorting import SortField, SortOrder  # noqa: PLC0415
    from pyiceberg.transforms import IdentityTransform  # noqa: PLC0415
    from sqlalchemy.exc import IntegrityError  # noqa: PLC0415

    schema = iceberg_schema(declared)
    identity: IdentityTransform[Any] = IdentityTransform()
    partition = [
        PartitionField(schema.find_field(name).field_id, 1000, identity, name)
        for name in filter(None, [declared.partition_by])
    ]
    order = [SortField(schema.find_field(name).field_id, identity) for name in declared.sort_by]
    # PyIceberg looks first and inserts then; who was slower in between hears it from the database.
    with contextlib.suppress(NamespaceAlreadyExistsError, IntegrityError):
        catalog.create_namespace(declared.identifier[0])
    try:
        return catalog.create_table(
            declared.identifier,
            schema,
            location=location,
            partition_spec=PartitionSpec(*partition),
            sort_order=SortOrder(*order),
            properties=_properties(declared, schema),
        )
    except TableAlreadyExistsError:
        return catalog.load_table(declared.identifier)


def extend_table(table: "Table", declared: LakeTable) -> None:
    """Add the declared columns that a table lacks.

    Raises PermanentError when the declaration can't be reached by adding nullable columns, for
    then old data files would not fit it: that needs a migration which rewrites the table.
    """
    present = {field.name: field for field in table.schema().fields}
    missing = [column for column in declared.schema if column.name not in present]
    for column in declared.schema:
        found = present.get(column.name)
        is_new_and_required = found is None and not column.nullable
        if is_new_and_required or (found and found.field_type != iceberg_type(column)):
            state = f"a {found.field_type} there" if found else "required, but not there"
            raise PermanentError(
                f"The column {column.name} of {_name(declared)} is {state}; only nullable columns "
                "can be added to a table, so write a migration or a new table."
            )
    if missing:
        _add_columns(table, missing)


def iceberg_schema(declared: LakeTable) -> "Schema":
    """Return a declaration's columns as an Iceberg schema, numbered from 1."""
    from pyiceberg.schema import Schema  # noqa: PLC0415 - slow import
    from pyiceberg.types import NestedField  # noqa: PLC0415

    return Schema(
        *(
            NestedField(number, column.name, iceberg_type(column), required=not column.nullable)
            for number, column in enumerate(declared.schema, start=1)
        )
    )


def _add_columns(table: "Table", columns: list[pa.Field]) -> None:
    from pyiceberg.exceptions import CommitFailedException  # noqa: PLC0415 - slow import

    try:
        with table.transaction() as transaction:
            with transaction.update_schema() as update:
                for column in columns:
                    update.add_column(column.name, iceberg_type(column))
            mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
            transaction.set_properties({NAME_MAPPING: mapping})
    except CommitFailedException as error:
        raise ConflictError(
            f"The table {'.'.join(table.name())} was changed by another run while columns were "
            "added to it; run it again."
        ) from error


def _properties(declared: LakeTable, schema: "Schema") -> dict[str, str]:
    properties = {
        NAME_MAPPING: schema.name_mapping.model_dump_json(),
        "comment": declared.description,
        # A conflict is repeated by Lake.publish from fresh metadata, never blindly.
        "commit.retry.num-retries": "0",
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "100",
    }
    # Whole files are deleted by these columns, which needs their bounds untruncated.
    for name in {"file_sha256", declared.partition_by} & set(declared.schema.names):
        properties[f"write.metadata.metrics.column.{name}"] = "full"
    return properties


def _name(declared: LakeTable) -> str:
    return ".".join(declared.identifier)
