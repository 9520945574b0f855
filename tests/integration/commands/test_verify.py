"""`verify` over a platform that took in good and bad files: nothing is wrong with it (SA-66)."""

import csv
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.advisory_performance.tables import RECONCILIATION
from pipeline_platform.commands.recovery import _reconciliations
from pipeline_platform.partition_ranges import dates_in
from tests.integration.commands.conftest import Processed


@pytest.fixture(scope="module")
def looked(processed: Processed) -> Any:
    return {one["aspect"]: one for one in processed.shell.json("verify")}


def test_nothing_is_wrong_in_any_aspect(looked: Any) -> None:
    assert {name: one["faults"] for name, one in looked.items() if one["faults"]} == {}


@pytest.mark.parametrize(
    "aspect", ["lake partitions", "served partitions", "contracts", "conservation ledger",
               "delivered files", "sample queries"],
)  # fmt: skip
def test_each_aspect_was_looked_at(looked: Any, aspect: str) -> None:
    assert int(looked[aspect]["looked at"].split()[0]) > 0


def test_after_a_recovery_the_newest_months_are_compared_in_a_file(
    processed: Processed, tmp_path: Path
) -> None:
    with processed.shell.services() as services:
        (path,) = _reconciliations(services, tmp_path)
        counts = dates_in(services.lake.partitions(RECONCILIATION))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    newest = sorted(counts)[-3:]
    assert len(rows) - 1 == sum(counts[month] for month in newest)
