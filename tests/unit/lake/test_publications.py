"""What a commit is marked with."""

import pytest

from pipeline_platform.failures import PermanentError
from pipeline_platform.lake.publications import snapshot_properties


def test_a_commit_carries_its_run():
    assert snapshot_properties("run-1", ["2026-10-01"], {})["run_id"] == "run-1"


def test_the_order_of_partitions_does_not_matter():
    first = snapshot_properties("run-1", ["b", "a"], {})
    assert first == snapshot_properties("run-1", ["a", "b"], {})


@pytest.mark.parametrize("name", ["run_id", "partitions", "added-records", "Total", "a b"])
def test_a_property_can_not_pass_for_one_of_iceberg_or_the_lake(name):
    with pytest.raises(PermanentError, match=name):
        snapshot_properties("run-1", [], {name: "1"})
