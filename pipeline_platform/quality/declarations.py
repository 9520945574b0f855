"""What a table's declaration alone asks of its rows, said as a contract (B-15).

For tables without a contract of their own, bronze and gold: these rules are what the lake refuses
of a staged file (`lake.data_files`), and all that is known of their columns.
"""

from typing import Any

import pyarrow as pa

from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.quality.contracts import Contract, Expectation


def declared_contract(table: LakeTable) -> Contract:
    """Return the rules that the columns are those declared and the required ones given.

    It is the contract of `layer/noun`. A row is known by its partition and its first text.
    """
    names = table.schema.names
    texts = [one.name for one in table.schema if pa.types.is_string(one.type)]
    keys = [name for name in (table.partition_by, *texts[:1]) if name is not None]
    required = [one.name for one in table.schema if not one.nullable]
    return Contract(
        table=f"{table.layer}/{table.name}",
        asset="/".join(table.asset_key),
        description=f"What {table.name} is declared to be.",
        key_columns=keys or names[:1],
        expectations=[
            _rule("columns_are_as_declared", "table_columns_to_match_set", column_set=names),
            *(
                _rule(f"{name}_is_given", "column_values_to_not_be_null", column=name)
                for name in required
            ),
        ],
    )


def _rule(rule: str, expected: str, **kwargs: Any) -> Expectation:
    return Expectation(
        type=f"expect_{expected}",
        kwargs=kwargs,
        rule=rule,
        description="As the table is declared.",
        severity="critical",
        dimension="consistency",
        requirements=["B-15"],
        is_row_rule=False,
        is_blocking=True,
    )
