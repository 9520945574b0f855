"""History with other labels or scores: staged and shown, then published or thrown away (B-10)."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_platform.failures import NotFoundError, PermanentError
from pipeline_platform.operations.maintenance import Maintainer
from pipeline_platform.services import Services
from pipeline_platform.warehouse.proposals import Proposal, find_proposal
from pipeline_platform.web_events import bots, proposals
from pipeline_platform.web_events.foretelling import mart_effects
from pipeline_platform.web_events.marts import MARTS
from pipeline_platform.web_events.proposals import discard, propose, publish
from pipeline_platform.web_events.refinement import requested_days
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS
from tests.integration.web_events.conftest import build_and_publish, rows_of
from tests.integration.web_events.event_files import (
    DAY,
    NOON,
    deliver,
    events,
    ingest,
    refine,
    refine_requested,
    silver,
)
from tests.integration.web_events.relabelled import (
    ACME,
    BEFRIENDED,
    NEXT_DAY,
    OLD,
    RESCORED,
    no_marts,
    process,
    run_with,
)
from tests.prepared import PreparedPlatform


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, new_database):
    """A platform whose events are labelled and scored by the old rules."""
    folder = tmp_path_factory.mktemp("relabel")
    return PreparedPlatform.made(folder, new_database, lambda platform: process(run_with(platform)))


@pytest.fixture(scope="module")
def with_proposal(tmp_path_factory, new_database):
    """Another one, and what was proposed there: to take a client for a friend."""
    made = []

    def prepare(platform: Services) -> None:
        process(run_with(platform))
        made.append(proposed(run_with(platform, BEFRIENDED)))

    folder = tmp_path_factory.mktemp("proposal")
    return PreparedPlatform.made(folder, new_database, prepare), made[0]


@pytest.fixture
def made(with_proposal) -> Proposal:
    return with_proposal[1]


@pytest.fixture
def services(request):
    has_proposal = "made" in request.fixturenames
    platform = request.getfixturevalue("with_proposal" if has_proposal else "prepared")
    with Services((platform[0] if has_proposal else platform).restored()) as opened:
        yield opened


def proposed(run: RunContext, **options) -> Proposal:
    return propose(run, **{"marts": no_marts, **options})


def state(services: Services, proposal: Proposal) -> str:
    with services.database.connection() as connection:
        return find_proposal(connection, PIPELINE, proposal.proposal_id).state


def data_files(services: Services) -> set[str]:
    location = Path(services.lake.iceberg(WEB_EVENTS).location())
    return {str(path) for path in location.rglob("*.parquet")}


def maintainer(services: Services, days_later: int) -> Maintainer:
    strict = OLD.maintenance.model_copy(update={"orphans_kept_days": 1})
    return Maintainer(
        services=services,
        runbook=OLD.model_copy(update={"maintenance": strict}),
        run_id="maintenance",
        unfinished_runs=lambda: (),
        clock=lambda: datetime.now(UTC) + timedelta(days=days_later),
    )


# --- what is shown -----------------------------------------------------------------------------


def test_a_proposal_changes_nothing_that_is_published(services):
    before, snapshots = silver(services), services.lake.snapshots(WEB_EVENTS)
    proposed(run_with(services, BEFRIENDED))
    assert (silver(services), services.lake.snapshots(WEB_EVENTS)) == (before, snapshots)
    assert requested_days(run_with(services)) == {}


def test_a_proposal_tells_what_changes_by_day_rule_and_agent(services):
    report = proposed(run_with(services, BEFRIENDED)).report
    days = [(row["event_date"], row["becomes_human"]) for row in report["by_day"]]
    rules = {row["bot_rule_id"]: row["events_after"] for row in report["by_rule"]}
    assert days == [(str(DAY), 3), (str(NEXT_DAY), 0)]
    assert (rules["friend:acme"], rules["library/python"]) == (3, 0)
    assert [row["user_agent"] for row in report["examples"]] == [ACME]
    assert report["changed_days"] == [{"event_date": str(DAY)}]


def test_a_proposal_tells_which_checks_would_come_out_otherwise(services):
    rulings = BEFRIENDED.rulings.model_copy(update={"score": {"missing_client_address": 1.0}})
    samples = OLD.thresholds["data_quality_score"].model_copy(update={"minimum_sample": 1})
    thresholds = {**OLD.thresholds, samples.name: samples}
    runbook = OLD.model_copy(update={"rulings": rulings, "thresholds": thresholds})
    checks = proposed(run_with(services, runbook)).report["checks"]
    assert [
        (
            row["check"],
            row["of"],
            row["outcome_before"],
            row["outcome_after"],
            row["severity_after"],
        )
        for row in checks
        if row["outcome_before"] != row["outcome_after"]
    ] == [("data_quality_score", str(DAY), "pass", "fail", "warning")]


def test_a_proposal_tells_the_effect_on_each_figure_of_the_marts(services):
    build_and_publish(services, DAY, NEXT_DAY)
    report = proposed(run_with(services, BEFRIENDED), marts=mart_effects).report
    found = {(one["mart"], one["partition"]): one["columns"] for one in report["marts"]}
    figures = found["daily_summary", str(DAY)]
    assert (figures["bot_events"], figures["human_events"]) == ([3, 0], [6, 9])
    assert figures["bot_percentage"] == [pytest.approx(33.3333), 0]
    assert ("daily_summary", str(NEXT_DAY)) not in found
    assert {mart for mart, _ in found} >= {
        "quality_trend",
        "weekly_performance_summary",
        "sessions",
    }
    assert report["failed_tests"] == []


def test_scores_by_other_weights(services):
    report = proposed(run_with(services, RESCORED)).report
    (rule,) = [one for one in report["scores_by_rule"] if one["cost_before"] != one["cost_after"]]
    assert (rule["rule"], rule["cost_before"], rule["cost_after"]) == (
        "missing_client_address",
        0.1,
        0.8,
    )
    assert (report["rescored_events"], report["changed_events"]) == (2, 0)


def test_rules_that_made_everything_have_nothing_to_propose(services):
    with pytest.raises(NotFoundError, match="nothing to propose"):
        proposed(run_with(services))


def test_days_can_be_chosen(services):
    report = proposed(run_with(services, BEFRIENDED), first=NEXT_DAY, last=NEXT_DAY).report
    assert [row["event_date"] for row in report["by_day"]] == [str(NEXT_DAY)]


# --- publishing --------------------------------------------------------------------------------


def test_what_is_published_is_what_processing_anew_gives(services, made):
    run = run_with(services, BEFRIENDED)
    publish(run, made.proposal_id)
    published = silver(services)
    refine(run, [DAY, NEXT_DAY])
    assert published == silver(services)


def test_all_days_become_visible_in_one_commit(services, made):
    before = len(services.lake.snapshots(WEB_EVENTS))
    run = run_with(services, BEFRIENDED)
    done = publish(run, made.proposal_id)
    assert len(services.lake.snapshots(WEB_EVENTS)) == before + 1
    assert done.partitions == (DAY, NEXT_DAY)


def test_days_that_differ_are_requested_for_what_is_made_from_them(services, made):
    run = run_with(services, BEFRIENDED)
    publish(run, made.proposal_id)
    assert list(requested_days(run)) == [DAY]


def test_old_rules_restore_silver_and_marts_exactly(services, tmp_path):
    build_and_publish(services, DAY, NEXT_DAY)
    old = {table.name: rows_of(services, table) for table in (WEB_EVENTS, *MARTS.tables)}
    rules = tmp_path / "bots"
    shutil.copytree(bots.FOLDER, rules)
    text = (rules / "rules.yaml").read_text("utf-8")
    (rules / "rules.yaml").write_text(text.replace("id: library/python", "id: library/snakes"))
    other = replace(run_with(services, RESCORED), bot_rules=rules)
    publish(other, proposed(other).proposal_id)
    build_and_publish(services, DAY, NEXT_DAY)
    assert rows_of(services, WEB_EVENTS) != old[WEB_EVENTS.name]

    back = run_with(services)
    publish(back, proposed(back).proposal_id)
    build_and_publish(services, DAY, NEXT_DAY)

    assert {table.name: rows_of(services, table) for table in (WEB_EVENTS, *MARTS.tables)} == old


def test_a_proposal_by_rules_that_are_not_in_force_is_refused(services, made):
    before = silver(services)
    with pytest.raises(PermanentError, match="other rules than are in force"):
        publish(run_with(services), made.proposal_id)
    assert silver(services) == before


def test_scores_alone_leave_labels_alone(services):
    both = RESCORED.rulings.model_copy(update={"friends": BEFRIENDED.rulings.friends})
    run = run_with(services, OLD.model_copy(update={"rulings": both}))
    labels = silver(services, "event_id, is_bot, bot_rule_id, bot_list_version")
    publish(run, proposed(run, changes=["scores"]).proposal_id)
    assert silver(services, "event_id, is_bot, bot_rule_id, bot_list_version") == labels
    assert min(silver(services, "data_quality_score")) == (0.6,)


def test_a_day_that_was_rewritten_is_judged_again(services, made):
    run = run_with(services, BEFRIENDED)
    deliver(
        services,
        "events_more.ndjson",
        events(2, NOON + timedelta(hours=1), "more", user_agent=ACME),
    )
    old = run_with(services, run_id="other")
    ingest(old)
    refine_requested(old)

    done = publish(run, made.proposal_id)

    assert done.judged_again == (DAY,)
    assert len(silver(services)) == 14
    assert set(silver(services, "bot_rule_id")) == {("friend:acme",), (None,)}


def test_a_day_that_the_new_rules_processed_meanwhile_is_left_alone(services):
    run = run_with(services, BEFRIENDED)
    made = proposed(run, first=DAY, last=DAY)
    refine(run_with(services, BEFRIENDED, "other"), [DAY])
    snapshots = services.lake.snapshots(WEB_EVENTS)

    done = publish(run, made.proposal_id)

    assert (done.publication, services.lake.snapshots(WEB_EVENTS)) == (None, snapshots)
    assert state(services, made) == "PUBLISHED"


def test_the_same_rows_in_other_files_do_no_harm(services, made):
    run = run_with(services, BEFRIENDED)
    with services.connect() as engine:
        rows = services.lake.relation(engine, WEB_EVENTS, months=(DAY, DAY))
        staged = services.lake.stage(WEB_EVENTS, rows, run_id="compaction", partition=str(DAY))
    services.lake.publish(staged, replace=f"event_date == '{DAY}'", properties={})

    done = publish(run, made.proposal_id)

    assert (done.judged_again, len(silver(services))) == ((DAY,), 12)
    assert ("friend:acme",) in silver(services, "bot_rule_id")


def test_a_publication_that_was_stopped_after_its_commit_goes_on(services, made, monkeypatch):
    run = run_with(services, BEFRIENDED)
    announce = proposals._announce

    def stopped(*arguments, is_done):
        if is_done:
            raise KeyboardInterrupt
        return announce(*arguments, is_done=is_done)

    monkeypatch.setattr(proposals, "_announce", stopped)
    with pytest.raises(KeyboardInterrupt):
        publish(run, made.proposal_id)
    monkeypatch.undo()
    snapshots = services.lake.snapshots(WEB_EVENTS)

    publish(run, made.proposal_id)

    assert services.lake.snapshots(WEB_EVENTS) == snapshots
    assert (state(services, made), list(requested_days(run))) == ("PUBLISHED", [DAY])


def test_a_second_publication_is_refused(services, made):
    run = run_with(services, BEFRIENDED)
    publish(run, made.proposal_id)
    with pytest.raises(PermanentError, match="is published"):
        publish(run, made.proposal_id)


def test_an_event_whose_record_is_gone_is_refused(services):
    staged = services.lake.stage(
        RAW_EVENTS, rows_of_bronze(services)[:1], run_id="gone", partition="some"
    )
    services.lake.publish(staged, replace=f"event_date == '{DAY}'", properties={})
    run = run_with(services, RESCORED)
    with pytest.raises(PermanentError, match="holds the records of 0 of the 9 events"):
        proposed(run)
    with services.database.connection() as connection:
        assert find_proposal(connection, PIPELINE, run.run_id).state == "DISCARDED"


def rows_of_bronze(services):
    with services.connect() as engine:
        found = services.lake.relation(engine, RAW_EVENTS, months=(NEXT_DAY, NEXT_DAY))
        return found.to_arrow_table()


# --- throwing away -----------------------------------------------------------------------------


def test_a_discarded_proposal_leaves_no_file(services):
    before = data_files(services)
    made = proposed(run_with(services, BEFRIENDED))
    assert len(data_files(services)) == len(before) + 2
    discard(run_with(services), made.proposal_id)
    assert (data_files(services), state(services, made)) == (before, "DISCARDED")


def test_a_discarded_proposal_can_not_be_published(services, made):
    run = run_with(services, BEFRIENDED)
    discard(run, made.proposal_id)
    with pytest.raises(PermanentError, match="thrown away"):
        publish(run, made.proposal_id)


def test_a_day_that_breaks_its_contract_meanwhile_is_refused_and_can_be_thrown_away(
    services, made, monkeypatch
):
    run = run_with(services, BEFRIENDED)
    monkeypatch.setattr(proposals, "objections_to", lambda *_: ["an id is missing"])
    refine(run_with(services, run_id="other"), [DAY])
    before = silver(services)
    with pytest.raises(PermanentError, match="an id is missing"):
        publish(run, made.proposal_id)
    discard(run, made.proposal_id)
    assert (silver(services), state(services, made)) == (before, "DISCARDED")


def test_one_whose_days_are_visible_can_not_be_thrown_away(services, made):
    run = run_with(services, BEFRIENDED)
    publish(run, made.proposal_id)
    with pytest.raises(PermanentError, match="is published"):
        discard(run, made.proposal_id)


def test_maintenance_leaves_a_pending_proposal_alone(services, made):
    run = run_with(services, BEFRIENDED)
    decide_now(services, made)
    list(maintainer(services, days_later=2).maintain([WEB_EVENTS]))
    publish(run, made.proposal_id)
    assert ("friend:acme",) in silver(services, "bot_rule_id")


def decide_now(services: Services, made: Proposal) -> None:
    """Let the proposal be of today, as its files are; the tests' clock stands still."""
    with services.database.transaction() as connection:
        connection.execute(
            "UPDATE lake_proposals SET changed_at = now() WHERE proposal_id = %s",
            (made.proposal_id,),
        )


def test_maintenance_gives_up_a_proposal_that_nobody_decided_on(services):
    before = data_files(services)
    made = proposed(run_with(services, BEFRIENDED))
    list(maintainer(services, days_later=40).maintain([WEB_EVENTS], ["orphans"]))
    assert (state(services, made), data_files(services) - before) == ("ABANDONED", set())
