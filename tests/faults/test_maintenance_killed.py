"""Maintenance killed in any of its phases, and started again, leaves content and files right."""

import random
from pathlib import Path

import pytest

from pipeline_platform.lake.lake import Lake
from pipeline_platform.lake.reachability import Reachability
from tests.faults import maintaining
from tests.faults.maintaining import MONTHS, PHASES, TABLE
from tests.faults.phases import PhasedWork

WORK = PhasedWork(maintaining)


@pytest.fixture(scope="module")
def undisturbed(new_database, tmp_path_factory):
    """Content after maintenance that nobody killed, and how long its phases take."""
    home, url = tmp_path_factory.mktemp("quiet"), new_database()
    lake = maintaining.open_lake(home, url)
    maintaining.prepare(lake)
    seconds = WORK.finish(home, url)
    return maintaining.content(lake), seconds


@pytest.fixture(scope="module")
def killed(new_database, tmp_path_factory, undisturbed):
    """A lake whose maintenance was killed once in each phase, and what was seen after each kill."""
    home, url = tmp_path_factory.mktemp("killed"), new_database()
    lake = maintaining.open_lake(home, url)
    maintaining.prepare(lake)
    before = maintaining.content(lake)
    moments = random.Random(20261125)
    seen = []
    for phase in PHASES:
        WORK.kill_in(phase, home, url, moments.uniform(0, undisturbed[1][phase]))
        seen.append((maintaining.content(lake), missing(lake)))
    WORK.finish(home, url)
    return lake, before, seen


def missing(lake: Lake):
    return [one for one in Reachability().paths(lake.iceberg(TABLE)) if not Path(one).exists()]


def test_after_each_kill_readers_see_the_content_of_before_or_after(killed, undisturbed) -> None:
    _, before, seen = killed
    for found, _ in seen:
        assert all(found[one] in (before[one], undisturbed[0][one]) for one in MONTHS)


def test_after_each_kill_every_needed_file_is_there(killed) -> None:
    assert [gone for _, gone in killed[2]] == [[]] * len(PHASES)


def test_started_again_it_ends_like_maintenance_that_nobody_killed(killed, undisturbed) -> None:
    assert maintaining.content(killed[0]) == undisturbed[0]


def test_what_killed_ones_left_is_removed_by_the_next(killed) -> None:
    lake = killed[0]
    assert missing(lake) == []
    kinds = {".parquet", ".stats"}
    files = Path(lake.iceberg(TABLE).location()).rglob("*")
    left = {str(path) for path in files if path.suffix in kinds}
    assert left - Reachability().paths(lake.iceberg(TABLE)) == set()


def test_the_statistics_are_those_of_the_rows(killed) -> None:
    metadata = killed[0].iceberg(TABLE).metadata
    names = {field.field_id: field.name for field in metadata.schema().fields}
    last = metadata.statistics[-1].blob_metadata
    counts = {names[blob.fields[0]]: blob.properties["ndv"] for blob in last}
    assert counts == {"account_id": "3000", "as_of_month": "3", "file_sha256": "1"}
