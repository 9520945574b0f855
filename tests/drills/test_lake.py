"""Drills of the lake: a file that is damaged, a partition that somebody deleted."""

import json
from pathlib import Path
from urllib.parse import urlsplit

from pipeline_platform.advisory_performance.tables import TIME_WEIGHTED_RETURNS, VALUATIONS
from pipeline_platform.partition_ranges import dates_in
from tests.assets.content import lake_content
from tests.drills.drilling import Drilled
from tests.drills.rows import HEALTH, LOOK, Fault

ADVISORY = "advisory_performance"
DAMAGED = Fault(
    name="corrupted lake file",
    how="a data file of silver is cut to half of its bytes; the backup is from before",
    alert="check `damaged_files`",
    severity="critical",
    route="data_corruption",
    command="pipeline-platform recover --go",
    cadence=f"{HEALTH}, {LOOK}",
    compared="rows of all tables of the lake",
)
DELETED = Fault(
    name="deleted partition",
    how="all rows of a closed month of gold's returns are deleted past the platform",
    alert="check `foreign_commits`",
    severity="critical",
    route="data_corruption",
    command="pipeline-platform restore TABLE --partition MONTH --snapshot SNAPSHOT",
    cadence=f"{HEALTH}, {LOOK}",
    compared="rows of all tables of the lake",
)


def test_a_file_of_the_lake_is_corrupted(drill, drilled: Drilled) -> None:
    it = drill(DAMAGED)
    before = lake_content(drilled.services)
    drilled.command("pipeline-platform backup create --lake-only --reason drill")
    cut(next(iter(drilled.services.lake.iceberg(VALUATIONS).scan().plan_files())).file.file_path)
    it.strikes()
    incident = it.is_seen(ADVISORY, by=ADVISORY)
    it.is_mended_by()
    assert it.is_green(by=ADVISORY)
    assert (incident.severity, incident.remedy.command) == (it.fault.severity, it.fault.command)
    assert lake_content(drilled.services) == before


def cut(location: str) -> None:
    path = Path(urlsplit(location).path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_partition_is_deleted(drill, drilled: Drilled) -> None:
    it = drill(DELETED)
    lake = drilled.services.lake
    before = lake_content(drilled.services)
    month = min(dates_in(lake.partitions(TIME_WEIGHTED_RETURNS)))
    lake.iceberg(TIME_WEIGHTED_RETURNS).delete(f"{TIME_WEIGHTED_RETURNS.partition_by} == '{month}'")
    it.strikes()
    incident = it.is_seen(ADVISORY, by=ADVISORY)
    (named,) = json.loads(drilled.command(f"{incident.remedy.command} --json").stdout)
    it.is_mended_by(named["command"])
    assert it.is_green(by=ADVISORY)
    assert incident.severity == it.fault.severity
    assert lake_content(drilled.services) == before
