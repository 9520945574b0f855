"""Runs of several commits or tables, and others that publish between them: nothing is lost."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import urlparse

import pyarrow as pa
import pytest

from pipeline_platform.failures import ConflictError, NotFoundError
from pipeline_platform.lake.compaction import compact
from pipeline_platform.lake.dbt_runs import INPUTS
from pipeline_platform.lake.reversion import revert
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.undo import Undoing
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import CompactionLimits
from pipeline_platform.services import Services
from pipeline_platform.warehouse.undone_runs import begin_undo, undone_run
from pipeline_platform.web_events.tables import PIPELINE
from tests.integration.web_events import undone

MONDAY, TUESDAY = date(2026, 11, 16), date(2026, 11, 17)
FILE = "a" * 64
FIRST = LakeTable(
    pipeline=PIPELINE,
    layer="silver",
    name="first",
    schema=pa.schema(
        [
            pa.field("day", pa.date32(), nullable=False),
            pa.field("made_by", pa.string(), nullable=False),
        ]
    ),
    description="Which run made a day.",
    partition_by="day",
)
SECOND = replace(FIRST, name="second")
READ = replace(FIRST, layer="bronze", name="read")


@pytest.fixture
def services(new_services) -> Iterator[Services]:
    opened = new_services()
    undone.stop(opened)
    return opened


def publish(
    services: Services,
    table: LakeTable,
    run_id: str,
    day: date = MONDAY,
    *,
    read: str = "",
    files: int = 1,
) -> None:
    """Publish a day in place of what it holds: files of one row."""
    with services.connect() as engine:
        rows = engine.sql(f"SELECT DATE '{day}' AS day, '{run_id}' AS made_by")
        staged = [
            services.lake.stage(table, rows, run_id=run_id, partition=str(day))
            for _ in range(files)
        ]
    services.lake.publish(staged, replace=f"day == '{day}'", properties={INPUTS: read})


def made_by(services: Services) -> list[str]:
    """Return which run's rows each of the two tables holds."""
    with services.connect() as engine:
        return [
            str(name)
            for table in (FIRST, SECOND)
            for (name,) in services.lake.relation(engine, table).project("made_by").fetchall()
        ]


def undoing(services: Services, *tables: LakeTable) -> Undoing:
    return Undoing(services, PIPELINE, tables, lambda _key, _keys: {}, "undo", utc_now())


def undo(services: Services, run_id: str) -> None:
    undoing(services, FIRST, SECOND).apply(run_id, "quarantine", by="test", reason="wrong")


def begin(services: Services, run_id: str, *, is_half_done: bool = False) -> None:
    """Write the plan down, and perhaps take the first table back, as an undo that is killed."""
    plan = undoing(services, FIRST, SECOND).plan(run_id, "quarantine")
    with services.database.transaction() as connection:
        begin_undo(
            connection, run_id, PIPELINE, plan.document(), by="test", reason="", now=utc_now()
        )
    if is_half_done:
        revert(services.lake, plan.reversions[0], run_id="undo", undoes=run_id)


def is_known(services: Services, run_id: str) -> bool:
    with services.database.connection() as connection:
        return undone_run(connection, run_id) is not None


@pytest.fixture
def twice(services: Services) -> Services:
    """Both tables, made by the run `good` and then by `bad`."""
    for run_id in ("good", "bad"):
        for table in (FIRST, SECOND):
            publish(services, table, run_id)
    return services


def test_who_published_an_earlier_piece_of_a_run_again_is_a_blocker(services: Services) -> None:
    publish(services, FIRST, "pieces", MONDAY)
    publish(services, FIRST, "later", MONDAY)
    publish(services, FIRST, "pieces", TUESDAY)
    (blocker,) = undoing(services, FIRST).plan("pieces", "quarantine").blockers
    assert (blocker.run_id, blocker.partitions) == ("later", (str(MONDAY),))


def test_who_published_a_day_before_the_run_did_is_none(services: Services) -> None:
    publish(services, FIRST, "pieces", MONDAY)
    publish(services, FIRST, "earlier", TUESDAY)
    publish(services, FIRST, "pieces", TUESDAY)
    assert undoing(services, FIRST).plan("pieces", "quarantine").blockers == ()


def test_who_read_an_earlier_file_of_a_run_again_is_a_blocker(services: Services) -> None:
    publish(services, READ, "pieces", MONDAY, read=FILE)
    publish(services, READ, "later", MONDAY, read=FILE)
    publish(services, READ, "pieces", TUESDAY, read="b" * 64)
    (blocker,) = undoing(services, READ).plan("pieces", "quarantine").blockers
    assert (blocker.run_id, blocker.partitions) == ("later", (FILE[:12],))


def test_an_undo_is_given_up_where_somebody_published_meanwhile(twice: Services) -> None:
    begin(twice, "bad")
    publish(twice, SECOND, "restore-1")
    with pytest.raises(ConflictError, match=r"restore-1 .* Nothing was changed .* given up"):
        undo(twice, "bad")
    assert (made_by(twice), is_known(twice, "bad")) == (["bad", "restore-1"], False)


def test_an_undo_that_was_given_up_is_planned_anew(twice: Services) -> None:
    begin(twice, "bad")
    publish(twice, SECOND, "restore-1")
    with pytest.raises(ConflictError):
        undo(twice, "bad")
    undo(twice, "restore-1")
    undo(twice, "bad")
    assert made_by(twice) == ["good", "good"]


def test_half_an_undo_says_what_is_in_its_way(twice: Services) -> None:
    begin(twice, "bad", is_half_done=True)
    publish(twice, SECOND, "restore-1")
    with pytest.raises(ConflictError, match=r"restore-1 .* first went back before.* half done"):
        undo(twice, "bad")
    assert (made_by(twice), is_known(twice, "bad")) == (["good", "restore-1"], True)


def test_half_an_undo_is_finished_once_that_is_undone(twice: Services) -> None:
    begin(twice, "bad", is_half_done=True)
    publish(twice, SECOND, "restore-1")
    undo(twice, "restore-1")
    undo(twice, "bad")
    undone.resume(twice)
    assert made_by(twice) == ["good", "good"]


def test_a_compaction_meanwhile_is_in_nobodys_way(twice: Services) -> None:
    publish(twice, FIRST, "bad", files=2)
    begin(twice, "bad")
    limits = CompactionLimits(min_files=2, small_file_mb=1, target_file_mb=2)
    (rewritten,) = compact(twice.lake, FIRST, limits, run_id="maintenance-1")
    undo(twice, "bad")
    assert (rewritten.skipped, made_by(twice)) == (None, ["good", "good"])


def test_no_table_goes_back_where_one_can_not(twice: Services) -> None:
    (earlier, *_) = twice.lake.snapshots(SECOND)
    (lost,) = twice.lake.pin(SECOND, snapshot_id=earlier.snapshot_id).files
    Path(urlparse(lost).path).unlink()
    with pytest.raises(NotFoundError, match=r"is gone .* Nothing was changed .* given up"):
        undo(twice, "bad")
    assert (made_by(twice), is_known(twice, "bad")) == (["bad", "bad"], False)
