"""A pipeline's marts as one asset of many tables: built and tested by dbt, published together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg

from pipeline_platform.lake.marts import Mart, MartGroup
from pipeline_platform.lake.pruning import Pruning, measure_pruning
from pipeline_platform.lake.publications import Publication
from pipeline_platform.orchestration.compute import ComputeSize
from pipeline_platform.orchestration.dbt import (
    ModelBuild,
    ModelTest,
    build_models,
    model_sources,
    model_tests,
    models_with_parents,
    publish_models,
    test_results,
    test_specs,
)
from pipeline_platform.orchestration.failures import handled_failures
from pipeline_platform.orchestration.metadata import asset_key, table_spec
from pipeline_platform.orchestration.resources import ServicesParam
from pipeline_platform.partition_ranges import day_range
from pipeline_platform.refinement import complete_partitions, refined_versions
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.stops import require_running

PRUNING_CHECK = "partitions_are_pruned"
WAIT_SECONDS = 900.0
"""How long a build waits for another one of the same pipeline."""


def marts_asset(
    group: MartGroup,
    *,
    partitions_def: dg.TimeWindowPartitionsDefinition,
    partitions_of_run: Callable[[dg.AssetExecutionContext], Sequence[date]],
    variables: Callable[[], Mapping[str, Any]] = dict,
    pool: str,
) -> dg.AssetsDefinition:
    """Declare the marts of a pipeline; a range of partitions is one run.

    Every dbt test is a blocking check. Some of the marts may be selected: they are built with
    those that they are made from. `variables` are what the models ask dbt for, besides the range.
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
        """Build marts with dbt, test them, and publish all of them or none."""
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
        span = (days[0], days[-1])
        chosen = group.only(models_with_parents(group.pipeline, selected))
        checks = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
        with handled_failures(context), only_builder(sized, group):
            require_running(sized.database, group.pipeline)
            build = build_marts(sized, chosen, span, variables(), context.run.run_id)
            results = (
                *test_results(group.pipeline, _tests_of(tests, chosen), build.tests),
                *_pruning_results(sized, chosen, build, span),
            )
            for result in results:
                if (result.asset_key, result.check_name) in checks:
                    yield result
            publications = publish_marts(sized, chosen, build, span)
        for table in chosen.tables:
            metadata = _metadata(publications[table.name])
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


@contextmanager
def only_builder(services: Services, group: MartGroup) -> Iterator[None]:
    """Let one process at a time build a pipeline's marts, from pinning until publishing.

    A build that pinned its sources earlier could otherwise publish later, over newer figures.
    """
    name = f"marts of {group.pipeline}"
    with named_lock(services.database, name, wait_seconds=WAIT_SECONDS):
        yield


def build_marts(
    services: Services,
    group: MartGroup,
    span: tuple[date, date],
    variables: Mapping[str, Any],
    run_id: str,
) -> ModelBuild:
    """Stage the marts of a range of partitions, each source pinned to what the marts read."""
    first, last = span
    answers = (
        refined_versions(services.database, group.pipeline, day_range(first, last))
        if group.are_last
        else {}
    )
    build = build_models(
        services,
        pipeline=group.pipeline,
        models=[mart.name for mart in group.marts],
        sources=[(table, group.read_range(first, last)) for table in group.sources],
        variables={"first_date": str(first), "last_date": str(last), **variables},
        run_id=run_id,
        partition=f"{first}_{last}",
    )
    return replace(build, answers=answers)


def publish_marts(
    services: Services, group: MartGroup, build: ModelBuild, span: tuple[date, date]
) -> dict[str, Publication]:
    """Publish what was staged, in place of the marts' partitions that the range touches.

    Where the marts are the last layer, the requests that they answer are complete then: a build
    that was killed before is asked for again.
    """
    published = publish_models(
        services, [(mart.table, mart.replaced(*span)) for mart in group.marts], build
    )
    complete_partitions(services.database, group.pipeline, build.answers, utc_now())
    return published


def pruning_of(
    services: Services, group: MartGroup, mart: Mart, build: ModelBuild, span: tuple[date, date]
) -> list[Pruning]:
    """Count the files that a built mart's query reads of each source, and those that it should."""
    others = (*group.sources, *group.tables)
    return [
        measure_pruning(
            build.queries[mart.name],
            source,
            services.lake.file_counts(source, snapshot_id=build.run.inputs[name]),
            mart.reads(*span),
            others=[table for table in others if table is not source],
        )
        for source in group.sources
        for name in [".".join(source.identifier)]
    ]


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


def _pruning_results(
    services: Services, group: MartGroup, build: ModelBuild, span: tuple[date, date]
) -> Iterator[dg.AssetCheckResult]:
    for mart in group.marts:
        if mart.name not in build.queries:
            continue  # not built, after a test that failed
        found = pruning_of(services, group, mart, build, span)
        strays = sorted({day for one in found for day in one.strays})
        yield dg.AssetCheckResult(
            asset_key=asset_key(mart.table),
            check_name=PRUNING_CHECK,
            passed=all(one.is_pruned for one in found),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "files_scanned": sum(one.files_scanned for one in found),
                "files_expected": sum(one.files_expected for one in found),
                "files_present": sum(one.files_present for one in found),
                "partitions_not_needed": [str(day) for day in strays[:10]],
            },
        )


def _metadata(published: Publication) -> dict[str, int]:
    return {"dagster/row_count": published.row_count, "snapshot_id": published.snapshot_id}
