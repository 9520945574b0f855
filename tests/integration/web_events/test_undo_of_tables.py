"""Runs of several commits or tables, and others that publish between them: nothing is lost."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pytest

from pipeline_platform.lake.dbt_runs import INPUTS
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.operations.undo import Undoing
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
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


def undoing(services: Services, *tables: LakeTable) -> Undoing:
    return Undoing(services, PIPELINE, tables, lambda _key, _keys: {}, "undo", utc_now())


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
