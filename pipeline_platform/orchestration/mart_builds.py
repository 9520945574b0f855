"""Marts built by dbt and published, piece by piece of a range; Dagster has no part in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pipeline_platform.failures import AuditFailedError
from pipeline_platform.lake.marts import Mart, MartGroup, Range
from pipeline_platform.lake.pruning import Pruning, measure_pruning
from pipeline_platform.lake.publications import Publication
from pipeline_platform.orchestration.dbt import ModelBuild, build_models, publish_models
from pipeline_platform.partition_ranges import dates_in, day_range, pieces, rows_within
from pipeline_platform.refinement import complete_partitions, refined_versions
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.locks import named_lock
from pipeline_platform.warehouse.stops import while_running

WAIT_SECONDS = 900.0
"""How long a build waits for another one of the same pipeline."""


@dataclass(frozen=True)
class BuiltPiece:
    """The marts of consecutive partitions as one run of dbt staged them."""

    span: Range
    build: ModelBuild


def build_pieces(
    services: Services,
    group: MartGroup,
    partitions: Sequence[date],
    variables: Mapping[str, Any],
    run_id: str,
) -> Iterator[BuiltPiece]:
    """Build the marts of consecutive partitions in pieces; each is published when it is pulled.

    All marts of a piece are published, or none. The result equals a build in one go: a mart's
    partition that several pieces touch (a week) is built by each of them, from all that it is made
    of. Raises AuditFailedError when a test failed or a model can't be built: then neither this
    piece nor a later one was published. Raises StoppedError between two pieces.
    """
    published: list[str] = []
    spans = mart_spans(services, group, [partitions])
    for span in while_running(services.database, group.pipeline, spans):
        try:
            with only_builder(services, group):
                build = build_marts(services, group, span, variables, run_id)
                yield BuiltPiece(span, build)
                publish_marts(services, group, build, span)
        except AuditFailedError as error:
            if not published:
                raise
            raise AuditFailedError(
                f"{error} The marts of {', '.join(published)} were published before."
            ) from error
        published.append(build.run.partition)


def mart_spans(
    services: Services, group: MartGroup, stretches: Iterable[Sequence[date]]
) -> Iterator[Range]:
    """Cut stretches of partitions into what one run of dbt builds within the memory limit.

    A cluster has its own memory: Spark builds all at once.
    """
    settings = services.settings
    if settings.engine != "duckdb":
        for stretch in stretches:
            yield stretch[0], stretch[-1]
        return
    rows = dates_in(services.lake.partitions(group.sources[0]))
    limit = rows_within(settings.memory_limit, group.rows_per_megabyte)
    for stretch in stretches:
        for piece in pieces(stretch, rows, limit):
            yield piece[0], piece[-1]


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
    span: Range,
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
    slices = {}
    if group.slices and services.settings.engine == "duckdb":
        slices = {"slices": list(group.slices(services.lake, span))}
    build = build_models(
        services,
        pipeline=group.pipeline,
        models=[mart.name for mart in group.marts],
        sources=[(table, group.read_range(first, last)) for table in group.sources],
        variables={"first_date": str(first), "last_date": str(last), **slices, **variables},
        run_id=run_id,
        # Never one date, which would say that every file has this value: a week has its Monday.
        partition=f"{first}_{last}",
    )
    return replace(build, answers=answers)


def publish_marts(
    services: Services, group: MartGroup, build: ModelBuild, span: Range
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
    services: Services, group: MartGroup, mart: Mart, build: ModelBuild, span: Range
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
