"""A pipeline's marts as one asset of many tables: built and tested by dbt, published together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from pipeline_platform.lake.marts import Mart, MartGroup, Range
from pipeline_platform.lake.pruning import Pruning
from pipeline_platform.orchestration.compute import ComputeSize
from pipeline_platform.orchestration.dbt import (
    ModelTest,
    merged_outcomes,
    model_sources,
    model_tests,
    models_with_parents,
    test_results,
    test_specs,
)
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.mart_builds import BuiltPiece, build_pieces, pruning_of
from pipeline_platform.orchestration.metadata import asset_key, table_spec
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.services import Services

PRUNING_CHECK = "partitions_are_pruned"
_PrunedModels = Mapping[str, Sequence[Pruning]]


def marts_asset(
    group: MartGroup,
    *,
    partitions_def: dg.TimeWindowPartitionsDefinition,
    partitions_of_run: Callable[[dg.AssetExecutionContext], Sequence[date]],
    pool: str,
) -> dg.AssetsDefinition:
    """Declare the marts of a pipeline; a range of partitions is one run.

    Every dbt test is a blocking check. Some of the marts may be selected: they are built with
    those that they are made from.
    """
    tests = model_tests(group.pipeline, group.tables)

    @dg.multi_asset(
        name=f"{group.pipeline}_marts",
        specs=[
            table_spec(
                table,
                deps=list(model_sources(group.pipeline, table.name)),
                kinds={"iceberg", "dbt"},
            )
            for table in group.tables
        ],
        check_specs=[*test_specs(group.pipeline, tests), *_pruning_specs(group)],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool,
        can_subset=True,
    )
    def marts(
        context: dg.AssetExecutionContext, config: ComputeSize, services: ServicesParam
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Build marts with dbt, test them, and publish all of a piece of the range or none."""
        selected = [
            table.name for table in group.tables if asset_key(table) in context.selected_asset_keys
        ]
        if not selected:
            raise dg.Failure(
                "Marts are tested where they are built, before they are published; materialize "
                "them instead of running their checks alone.",
                allow_retries=False,
            )
        sized = config.sized(services)
        days = partitions_of_run(context)
        chosen = group.only(models_with_parents(group.pipeline, selected))
        checks = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
        chosen_tests = _tests_of(tests, chosen)
        built: list[BuiltPiece] = []
        pruned: list[_PrunedModels] = []

        def results() -> Iterator[dg.AssetCheckResult]:
            outcomes = merged_outcomes([piece.build for piece in built])
            for result in (
                *test_results(group.pipeline, chosen_tests, outcomes),
                *_pruning_results(chosen, pruned),
            ):
                if (result.asset_key, result.check_name) in checks:
                    yield result

        with handled_failures(context):
            for piece in build_pieces(sized, chosen, days, group.variables(), context.run.run_id):
                built.append(piece)
                pruned.append(_pruning_of_models(sized, chosen, piece))
                if piece.build.failed_tests:
                    yield from results()
            yield from results()
        for mart in chosen.marts:
            table = mart.table
            metadata = _metadata(sized, mart, (days[0], days[-1]))
            if table.name in selected:
                yield dg.MaterializeResult(asset_key=asset_key(table), metadata=metadata)
            else:
                for day in days:
                    context.log_event(
                        dg.AssetMaterialization(
                            asset_key(table), metadata=metadata, partition=day.isoformat()
                        )
                    )

    return marts


def _tests_of(tests: Sequence[ModelTest], group: MartGroup) -> list[ModelTest]:
    names = {mart.name for mart in group.marts}
    return [test for test in tests if test.models <= names]


def _pruning_specs(group: MartGroup) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            PRUNING_CHECK,
            asset=asset_key(table),
            description="The model filters by partition and reads no file beyond what it needs.",
        )
        for table in group.tables
    ]


def _pruning_of_models(services: Services, group: MartGroup, piece: BuiltPiece) -> _PrunedModels:
    """Measure every model that was built, which one after a failed test is not."""
    return {
        mart.name: pruning_of(services, group, mart, piece.build, piece.span)
        for mart in group.marts
        if mart.name in piece.build.queries
    }


def _pruning_results(
    group: MartGroup, pieces: Sequence[_PrunedModels]
) -> Iterator[dg.AssetCheckResult]:
    """Report each mart once: it is pruned if it was in every piece; files are counted by piece."""
    for mart in group.marts:
        found = [one for piece in pieces for one in piece.get(mart.name, [])]
        if not found:
            continue  # not built, after a test that failed
        strays = sorted({day for one in found for day in one.strays})
        present = {one.source: one.files_present for one in found}
        yield dg.AssetCheckResult(
            asset_key=asset_key(mart.table),
            check_name=PRUNING_CHECK,
            passed=all(one.is_pruned for one in found),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "files_scanned": sum(one.files_scanned for one in found),
                "files_expected": sum(one.files_expected for one in found),
                "files_present": sum(present.values()),
                "partitions_not_needed": [str(day) for day in strays[:10]],
            },
        )


def _metadata(services: Services, mart: Mart, span: Range) -> dict[str, int]:
    """Return how many rows the mart's partitions of a range have, and the snapshot that says so."""
    pinned = services.lake.pin(mart.table, months=mart.builds(*span))
    metadata = {"dagster/row_count": pinned.row_count}
    if pinned.snapshot_id is not None:
        metadata["snapshot_id"] = pinned.snapshot_id
    return metadata
