"""A table without a contract is asked what its declaration says, and no more."""

import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.quality.declarations import declared_contract

TABLE = LakeTable(
    "shop",
    "bronze",
    "sales",
    pa.schema(
        [
            pa.field("note", pa.string()),
            pa.field("shop", pa.string(), nullable=False),
            pa.field("day", pa.date32(), nullable=False),
        ]
    ),
    "",
    partition_by="day",
)
CONTRACT = declared_contract(TABLE)


def test_its_name_tells_the_layer() -> None:
    assert (CONTRACT.table, CONTRACT.asset) == ("bronze/sales", "shop/bronze/sales")


def test_columns_and_required_values_are_its_rules() -> None:
    rules = [one.rule for one in CONTRACT.expectations]
    assert rules == ["columns_are_as_declared", "shop_is_given", "day_is_given"]


def test_a_row_is_known_by_its_partition_and_its_first_text() -> None:
    assert CONTRACT.key_columns == ["day", "note"]


def test_without_either_the_first_column_is_the_key() -> None:
    counts = LakeTable("shop", "gold", "counts", pa.schema([("count", pa.int64())]), "")
    assert declared_contract(counts).key_columns == ["count"]
