"""A run taken back: the state before it is the state after it was done and undone (B-5)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline_platform.failures import ConflictError, NotFoundError, PermanentError
from pipeline_platform.lake.reversion import compare, revert
from pipeline_platform.operations.undo import UndoPlan
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services
from pipeline_platform.warehouse.undone_runs import begin_undo
from pipeline_platform.web_events.refinement import requested_days
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, TABLES, WEB_EVENTS
from tests.integration.web_events import undone
from tests.integration.web_events.event_files import DAY, ingest, refine, refine_requested
from tests.integration.web_events.undone import state


@dataclass
class Story:
    """What a platform held before and after each run, and after each was taken back."""

    services: Services
    before: dict[str, object]
    taken_in: dict[str, object]
    refined: dict[str, object]
    ledger: object
    refine_undone: dict[str, object]
    ingest_undone: dict[str, object]
    waiting: dict[object, int]
    settled: dict[str, object]
    settled_ledger: object


@pytest.fixture(scope="module")
def story(new_services) -> Iterator[Story]:
    services = new_services()
    undone.first_delivery(services)
    before, ledger = state(services), undone.accounts(services)
    undone.second_delivery(services)
    taken_in = state(services)
    refine_requested(undone.run(services, "refine-2"))
    refined = state(services)
    undone.stop(services)
    undone.undo(services, "refine-2")
    refine_undone = state(services)
    undone.undo(services, "ingest-2")
    ingest_undone, waiting = state(services), requested_days(undone.run(services, "look"))
    undone.resume(services)
    refine_requested(undone.run(services, "again"))
    return Story(
        services,
        before,
        taken_in,
        refined,
        ledger,
        refine_undone,
        ingest_undone,
        waiting,
        state(services),
        undone.accounts(services),
    )


def test_a_refinement_that_was_undone_leaves_what_was_there_before(story: Story) -> None:
    assert (story.refine_undone, story.refined != story.taken_in) == (story.taken_in, True)


def test_an_ingest_that_was_undone_leaves_what_was_there_before(story: Story) -> None:
    assert story.ingest_undone == {**story.before, "incoming": ["events_2.ndjson"]}


def test_its_days_wait_to_be_worked_on_again(story: Story) -> None:
    assert list(story.waiting) == [DAY]


def test_worked_on_again_nothing_remains_of_it(story: Story) -> None:
    assert (story.settled, story.settled_ledger) == (story.ingest_undone, story.ledger)


def test_what_was_undone_can_be_done_again(story: Story) -> None:
    ingest(undone.run(story.services, "ingest-3"))
    refine_requested(undone.run(story.services, "refine-3"))
    assert state(story.services) == story.refined


def test_a_run_is_undone_once(story: Story) -> None:
    with pytest.raises(PermanentError, match="was undone at"):
        undone.undoing(story.services).plan("refine-2", "quarantine")


@pytest.fixture(scope="module")
def refined(new_services) -> Services:
    """A platform with both deliveries refined."""
    services = new_services()
    undone.first_delivery(services)
    undone.second_delivery(services)
    refine_requested(undone.run(services, "refine-2"))
    return services


def test_a_later_run_that_built_on_it_is_named(refined: Services) -> None:
    (blocker,) = undone.undoing(refined).plan("ingest-2", "quarantine").blockers
    assert (blocker.run_id, blocker.partitions) == ("refine-2", (str(DAY),))


def test_an_earlier_run_of_the_same_day_is_refused(refined: Services) -> None:
    before = state(refined)
    undone.stop(refined)
    with pytest.raises(PermanentError, match="undo refine-2"):
        undone.undo(refined, "refine-1")
    undone.resume(refined)
    assert state(refined) == before


def test_a_pipeline_that_is_not_stopped_is_left_alone(refined: Services) -> None:
    with pytest.raises(PermanentError, match="pipelines stop web_events"):
        undone.undo(refined, "refine-2")


def test_a_preview_says_what_would_go_and_come_back(refined: Services) -> None:
    (reversion,) = undone.undoing(refined).plan("refine-2", "quarantine").reversions
    found = compare(refined.lake, reversion)
    assert (found.rows_now, found.rows_after) == (26, 20)


def test_a_run_that_changed_nothing_is_not_found(refined: Services) -> None:
    with pytest.raises(NotFoundError, match="nothing to undo"):
        undone.undoing(refined).plan("nobody", "quarantine")


def test_a_plan_that_was_stored_with_what_follows_from_the_rest_is_read(
    refined: Services,
) -> None:
    plan = undone.undoing(refined).plan("refine-2", "quarantine")
    stored = {**plan.document(), "bronze": list(RAW_EVENTS.asset_key), "refined": [str(DAY)]}
    read = UndoPlan.of("refine-2", PIPELINE, stored, TABLES)
    assert (read, read.refined) == (plan, (str(DAY),))


def test_a_publication_between_plan_and_undo_is_never_lost(new_services) -> None:
    services = new_services()
    undone.first_delivery(services)
    (reversion,) = undone.undoing(services).plan("refine-1", "quarantine").reversions
    refine(undone.run(services, "faster"), [DAY])
    with pytest.raises(ConflictError, match="faster"):
        revert(services.lake, reversion, run_id="undo", undoes="refine-1")
    assert services.lake.last_publication(WEB_EVENTS).properties["run_id"] == "faster"


def test_a_pipeline_is_not_resumed_while_an_undo_is_half_done(new_services) -> None:
    services = new_services()
    undone.first_delivery(services)
    undone.stop(services)
    plan = undone.undoing(services).plan("refine-1", "quarantine")
    with services.database.transaction() as connection:
        begin_undo(
            connection,
            "refine-1",
            PIPELINE,
            plan.document(),
            by="test",
            reason="killed",
            now=utc_now(),
        )
    with pytest.raises(PermanentError, match="undo refine-1 --apply"):
        undone.resume(services)
    undone.undo(services, "refine-1", "quarantine")
    undone.resume(services)
    assert state(services)["web_events"] == []


def test_files_are_held_in_quarantine_with_the_reason(new_services) -> None:
    services = new_services()
    undone.take_in(services, 1, b'{"event_id": "a"}\n' + undone.events(2))
    undone.stop(services)
    undone.undo(services, "ingest-1", "quarantine")
    with services.database.connection() as connection:
        (held,) = connection.execute("SELECT rule, reason FROM quarantined_files").fetchall()
    assert held == ("undone", "Its run ingest-1 was undone: wrong clock")
    assert state(services)["quarantine"] == ["events_1.ndjson"]
    assert state(services)["raw_events"] == []
