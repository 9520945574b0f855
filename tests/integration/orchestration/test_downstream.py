"""Which partitions are made from which, as the asset graph says (SA-68)."""

from datetime import date

import dagster as dg
import pytest

from pipeline_platform.orchestration.downstream import downstream

MONTHLY = dg.MonthlyPartitionsDefinition("2026-01-01", end_offset=1)
BRONZE, SILVER, LINKED, SERVED, OTHER = (
    dg.AssetKey(["weather", layer, "hours"])
    for layer in ("bronze", "silver", "gold", "serving", "other")
)
LAST = date(2026, 6, 30)


@pytest.fixture(scope="module")
def graph():
    before = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
    specs = [
        dg.AssetSpec(BRONZE),
        dg.AssetSpec(SILVER, deps=[BRONZE], partitions_def=MONTHLY),
        dg.AssetSpec(
            LINKED,
            deps=[SILVER, dg.AssetDep(LINKED, partition_mapping=before)],
            partitions_def=MONTHLY,
        ),
        dg.AssetSpec(SERVED, deps=[LINKED]),
        dg.AssetSpec(OTHER, partitions_def=MONTHLY),
    ]
    return dg.Definitions(specs).resolve_asset_graph()


def test_the_same_months_are_made_from_an_asset_without_partitions(graph) -> None:
    assert downstream(graph, BRONZE, ["2026-02-01"], last=LAST)[SILVER] == {"2026-02-01"}


def test_a_month_that_links_from_the_one_before_affects_all_later_ones(graph) -> None:
    found = downstream(graph, SILVER, ["2026-04-01"], last=LAST)[LINKED]
    assert found == {"2026-04-01", "2026-05-01", "2026-06-01"}


def test_an_asset_is_affected_by_its_own_month_before(graph) -> None:
    found = downstream(graph, LINKED, ["2026-05-01"], last=LAST)[LINKED]
    assert found == {"2026-06-01"}


def test_one_without_partitions_is_affected_as_a_whole(graph) -> None:
    assert downstream(graph, SILVER, ["2026-02-01"], last=LAST)[SERVED] == set()


def test_what_is_not_made_from_it_is_left_out(graph) -> None:
    assert OTHER not in downstream(graph, BRONZE, ["2026-02-01"], last=LAST)
