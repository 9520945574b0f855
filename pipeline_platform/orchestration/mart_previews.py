"""What marts would hold if proposed rows were published: built by dbt, compared, thrown away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from pipeline_platform.lake import reading
from pipeline_platform.lake.dbt_runs import forget_dbt_run, staged_files
from pipeline_platform.lake.engine import sql_name
from pipeline_platform.lake.marts import Mart, MartGroup
from pipeline_platform.lake.staging import columns_of
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.orchestration.mart_builds import build_marts, mart_spans
from pipeline_platform.partition_ranges import stretches
from pipeline_platform.services import Services


@dataclass(frozen=True)
class MartChange:
    """How one partition of a mart would differ from what is published now.

    `columns` gives a figure before and after where a partition is one row; None stands for a row
    that is not there.
    """

    mart: str
    partition: date
    rows_before: int
    rows_after: int
    rows_that_go: int
    rows_that_come: int
    columns: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class MartPreview:
    """What would differ, and the dbt tests that would forbid the marts' publication."""

    changes: tuple[MartChange, ...]
    failed_tests: tuple[str, ...]


def preview_marts(
    services: Services,
    proposed: Services,
    group: MartGroup,
    days: Sequence[date],
    variables: Mapping[str, Any],
    run_id: str,
) -> MartPreview:
    """Build the marts of days from proposed rows and compare them with the published ones.

    `proposed` are the services over the lake that shows the proposed rows. Nothing is published.
    """
    changes: dict[tuple[str, date], MartChange] = {}
    failed: list[str] = []
    for span in mart_spans(proposed, group, stretches(days)):
        build = build_marts(proposed, group, span, variables, run_id)
        try:
            for change in _compare(services, group, span, staged_files(build.run)):
                changes[change.mart, change.partition] = change
        finally:
            forget_dbt_run(build.run)
        failed += [f"{one.name}: {one.message}" for one in build.failed_tests]
    return MartPreview(tuple(changes.values()), tuple(failed))


def _compare(
    services: Services, group: MartGroup, span: tuple[date, date], files: Mapping[str, list[str]]
) -> Iterator[MartChange]:
    with services.connect() as engine:
        for mart in group.marts:
            name = ".".join(mart.table.identifier)
            if name in files:
                yield from _changes(services, engine, mart, span, files[name])


def _changes(
    services: Services,
    engine: duckdb.DuckDBPyConnection,
    mart: Mart,
    span: tuple[date, date],
    files: list[str],
) -> Iterator[MartChange]:
    table = mart.table
    before = services.lake.pin(table, months=mart.builds(*span)).query
    staged = reading.select_files(table, files, mixed=False)
    after = f"SELECT {columns_of(table)} FROM ({staged})"
    by = sql_name(str(table.partition_by))
    for partition, old, new, goes, comes in engine.execute(
        f"""
        WITH before AS MATERIALIZED ({before}), after AS MATERIALIZED ({after}),
        sides AS (
            SELECT {by} AS partition, 1 AS old, 0 AS new, 0 AS goes, 0 AS comes FROM before
            UNION ALL SELECT {by}, 0, 1, 0, 0 FROM after
            UNION ALL SELECT {by}, 0, 0, 1, 0 FROM (FROM before EXCEPT ALL FROM after)
            UNION ALL SELECT {by}, 0, 0, 0, 1 FROM (FROM after EXCEPT ALL FROM before)
        )
        SELECT partition, sum(old)::INT, sum(new)::INT, sum(goes)::INT, sum(comes)::INT
        FROM sides GROUP BY partition HAVING sum(goes + comes) > 0 ORDER BY partition
        """
    ).fetchall():
        is_one_row = max(old, new) == 1
        columns = _columns(engine, table, before, after, partition) if is_one_row else {}
        yield MartChange(mart.name, partition, old, new, goes, comes, columns)


def _columns(
    engine: duckdb.DuckDBPyConnection, table: LakeTable, before: str, after: str, partition: date
) -> dict[str, tuple[Any, Any]]:
    names = [name for name in table.schema.names if name != table.partition_by]
    condition = f"{sql_name(str(table.partition_by))} = DATE '{partition}'"

    def row(query: str) -> tuple[Any, ...]:
        chosen = ", ".join(map(sql_name, names))
        found = engine.execute(f"SELECT {chosen} FROM ({query}) WHERE {condition}").fetchone()
        return found or (None,) * len(names)

    pairs = zip(names, row(before), row(after), strict=True)
    return {name: (old, new) for name, old, new in pairs if old != new}
