"""The marts asset with Spark as its engine, on the sample: the rows that DuckDB gives."""

import dagster as dg
import pyarrow.parquet as pq
import pytest

from pipeline_platform.advisory_performance import assets
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.dbt import model_tests
from pipeline_platform.orchestration.marts import PRUNING_CHECK
from tests.assets.content import Content, lake_content
from tests.assets.platform_runs import (
    AUGUST,
    OCTOBER,
    deliver_sample,
    running,
    sample,
    settings_at,
)

MART_NAMES = {table.name for table in MARTS.tables}
Rebuilt = tuple[Content, Content, dg.ExecuteInProcessResult, set[str]]


@pytest.fixture(scope="module")
def rebuilt(new_database, tmp_path_factory) -> Rebuilt:
    """Process the sample on DuckDB, then its marts again on Spark.

    Returns the marts' rows before and after, the run, and who wrote the files that count now.
    """
    settings = settings_at(tmp_path_factory.mktemp("engines"), new_database())
    deliver_sample(settings, sample(fault_rate=0.01, has_corrections=True))
    with running(settings) as platform:
        platform.ingest()
        platform.process(AUGUST, OCTOBER)
        on_duckdb = lake_content(platform.services, tables=MART_NAMES)
    with running(settings.model_copy(update={"engine": "spark"})) as platform:
        result = dg.materialize(
            [assets.marts],
            instance=platform.instance,
            resources={"services": platform.services},
            tags=range_tags(AUGUST, OCTOBER),
        )
        on_spark = lake_content(platform.services, tables=MART_NAMES)
        files = [path for table in MARTS.tables for path in platform.services.lake.files(table)]
        writers = {pq.read_metadata(path).created_by.split()[0] for path in files}
        return on_duckdb, on_spark, result, writers


def test_the_sample_gives_the_same_marts_on_spark(rebuilt: Rebuilt) -> None:
    on_duckdb, on_spark, *_ = rebuilt
    assert on_spark == on_duckdb


def test_every_published_file_was_written_by_the_other_engine(rebuilt: Rebuilt) -> None:
    assert rebuilt[3] == {"datafusion"}


def test_the_sample_fills_every_mart(rebuilt: Rebuilt) -> None:
    assert {name for name, rows in rebuilt[1].items() if rows} == MART_NAMES


def test_every_check_was_evaluated_and_passed_on_spark(rebuilt: Rebuilt) -> None:
    evaluated = rebuilt[2].get_asset_check_evaluations()
    declared = {test.name for test in model_tests(MARTS.pipeline, MARTS.tables)}
    assert {one.check_name for one in evaluated if one.passed} == {*declared, PRUNING_CHECK}
    assert [one.check_name for one in evaluated if not one.passed] == []
