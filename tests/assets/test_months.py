"""A range of months in one run, month by month, and in which order: always the same tables."""

import dagster as dg
import pytest

from pipeline_platform.advisory_performance import ingestion
from pipeline_platform.advisory_performance.assets import MONTHLY_KEYS
from pipeline_platform.advisory_performance.automation import WORKFLOW
from pipeline_platform.advisory_performance.marts import MARTS
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    PIPELINE,
    TIME_WEIGHTED_RETURNS,
)
from pipeline_platform.definitions import build_defs
from pipeline_platform.partition_ranges import month_range
from pipeline_platform.services import Services
from tests.assets.content import Content, database_content, differences, lake_content
from tests.assets.platform_runs import (
    AUGUST,
    OCTOBER,
    SEPTEMBER,
    deliver_sample,
    process_months,
    running,
    sample,
    settings_at,
)

MADE = sample(fault_rate=0.01, has_corrections=True)
MART_NAMES = {table.name for table in MARTS.tables}


def content_of(services: Services) -> Content:
    found = {
        **lake_content(services, without_instants=True),
        **database_content(services),
    }
    return {name: rows for name, rows in found.items() if name not in MART_NAMES}


@pytest.fixture(scope="module")
def in_one_run(new_database, tmp_path_factory) -> Content:
    settings = settings_at(tmp_path_factory.mktemp("one_run"), new_database())
    deliver_sample(settings, MADE)
    with Services(settings) as services:
        run = RunContext(services, "one run")
        list(ingestion.ingest_arrivals(run))
        process_months(run, month_range(AUGUST, OCTOBER))
        return content_of(services)


def test_months_one_by_one_give_what_the_range_gives(in_one_run, new_database, tmp_path) -> None:
    settings = settings_at(tmp_path, new_database())
    deliver_sample(settings, MADE)
    with running(settings) as platform:
        list(ingestion.ingest_arrivals(RunContext(platform.services, "ingest")))
        without_marts = [key for key in MONTHLY_KEYS if key.path[-1] not in MART_NAMES]
        for month in month_range(AUGUST, OCTOBER):
            platform.run(WORKFLOW, partition_key=str(month), asset_selection=without_marts)
        assert differences(in_one_run, content_of(platform.services)) == {}


def test_files_in_another_order_give_the_same_tables(in_one_run, new_database, tmp_path) -> None:
    settings = settings_at(tmp_path, new_database())
    deliver_sample(settings, MADE)
    with Services(settings) as services:
        run = RunContext(services, "backwards")
        waiting = [one.key for one in services.landing(PIPELINE).list("incoming")]
        for keys in (waiting[::-1][:20], waiting[::-1][20:]):
            list(ingestion.ingest_arrivals(run, keys))
        process_months(run, month_range(AUGUST, OCTOBER))
        assert differences(in_one_run, content_of(services)) == {}


@pytest.mark.parametrize("table", [TIME_WEIGHTED_RETURNS, ACCOUNT_STATES], ids=lambda t: t.name)
def test_a_month_waits_for_the_month_before_it(table, settings) -> None:
    graph = build_defs(settings).resolve_asset_graph()
    key = dg.AssetKey(list(table.asset_key))
    mapping = graph.get_partition_mapping(key, key)
    partitions = graph.get(key).partitions_def
    before = mapping.get_upstream_mapped_partitions_result_for_partitions(
        partitions.subset_with_partition_keys([str(OCTOBER)]), partitions, partitions
    )
    assert list(before.partitions_subset.get_partition_keys()) == [str(SEPTEMBER)]


def test_every_asset_of_the_months_runs_a_backfill_as_one_ordered_range(settings) -> None:
    graph = build_defs(settings).resolve_asset_graph()
    partitioned = [key for key in graph.get_all_asset_keys() if graph.get(key).is_partitioned]
    policies = {graph.get(key).backfill_policy for key in partitioned}
    assert policies == {dg.BackfillPolicy.single_run()}
