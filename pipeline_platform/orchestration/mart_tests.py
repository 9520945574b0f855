"""dbt's tests of marts as queries, for rows that dbt did not build: damaged copies (B-15)."""

from collections.abc import Sequence
from datetime import date
from functools import cache, partial

from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.marts import MartGroup
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.dbt import compiled_tests
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.mutation_scores import (
    TableScore,
    TestsAt,
    contracts_of,
    own_part,
    score_table,
)
from pipeline_platform.quality.table_tests import TableTests
from pipeline_platform.run_context import RunContext

_MODELS = "main"
"""The schema that dbt gives its models; a source has that of its table."""


def score_tables(
    run: RunContext, contracts: Sequence[Contract] | None = None, partition: date | None = None
) -> list[TableScore]:
    """Score tables of a pipeline, all by default; those of `marts.py` with their dbt tests, too."""
    pipeline = run.runbook.pipeline
    chosen = contracts_of(run.services, pipeline) if contracts is None else contracts
    group: MartGroup | None = own_part(pipeline, "marts", "MARTS")
    by_asset = dbt_tests_of(run, group) if group else {}
    return [score_table(run, one, partition, by_asset.get(one.asset)) for one in chosen]


def dbt_tests_of(run: RunContext, group: MartGroup) -> dict[str, TestsAt]:
    """Return, by the marts' assets, what gives the tests of a partition."""

    @cache
    def compiled(day: date) -> dict[str, tuple[frozenset[str], str]]:
        return compiled_tests(
            run.services,
            pipeline=group.pipeline,
            models=[mart.name for mart in group.marts],
            sources=[(table, group.read_range(day, day)) for table in group.sources],
            variables={"first_date": str(day), "last_date": str(day), **group.variables()},
            run_id=run.run_id,
        )

    def tests(name: str, day: date) -> TableTests:
        queries = {one: query for one, (named, query) in compiled(day).items() if name in named}
        return TableTests((_MODELS, name), _relations(run.services.lake, group, day), queries)

    return {"/".join(one.table.asset_key): partial(tests, one.name) for one in group.marts}


def _relations(lake: Lake, group: MartGroup, day: date) -> dict[tuple[str, str], str]:
    """Return what a build of one partition reads and makes, as it is published now."""

    def rows(table: LakeTable, months: tuple[date, date]) -> str:
        return lake.pin(table, months=months).query

    sources = {one.identifier: rows(one, group.read_range(day, day)) for one in group.sources}
    marts = {(_MODELS, one.name): rows(one.table, one.builds(day, day)) for one in group.marts}
    return {**sources, **marts}
