"""The monthly review: what each section says, and the one page that the job makes of them."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from pipeline_platform.operations.reviews import (
    Reviewed,
    Section,
    capacity_of,
    cost_by_service,
    page_of,
    pending_proposals,
    temporary_files,
)
from pipeline_platform.orchestration.reviews import review_job

from pipeline_platform.failures import UnavailableError
from pipeline_platform.operations.growth import record_size
from pipeline_platform.runbook import CapacityLimit
from pipeline_platform.services import Services
from pipeline_platform.warehouse.proposals import begin_proposal
from pipeline_platform.web_events.automation import maintain_job, monthly_review_job
from pipeline_platform.web_events.run_context import load_runbook
from pipeline_platform.web_events.tables import PIPELINE
from tests.assets.platform_runs import running

NOW = datetime(2026, 3, 1, 1, tzinfo=UTC)


@pytest.fixture
def services(settings):
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def reviewed(services) -> Reviewed:
    return Reviewed(services, load_runbook(), NOW, ())


def keep_costs(services: Services, **by_month: float) -> None:
    """Store a service's cost on the first day of months, and that it was read."""
    with services.database.transaction() as connection:
        connection.execute(
            "INSERT INTO cost_readings (read_at, first_date, last_date, is_read) VALUES"
            " (%s, %s, %s, true)",
            (NOW, date(2026, 1, 1), date(2026, 2, 28)),
        )
        for month, amount in by_month.items():
            day = date(2026, int(month[1:]), 1)
            connection.execute(
                "INSERT INTO daily_cost (usage_date, currency, is_estimated, read_at)"
                " VALUES (%s, 'USD', false, %s)",
                (day, NOW),
            )
            connection.execute(
                "INSERT INTO daily_service_cost (usage_date, service, amount) VALUES (%s, %s, %s)",
                (day, "AWS Glue", amount),
            )


def test_cost_without_a_source_is_not_configured(reviewed) -> None:
    assert cost_by_service(reviewed).sentence.startswith("Not configured")


def test_cost_of_the_last_month_is_shown_against_the_month_before(settings) -> None:
    paid = settings.model_copy(update={"cost_source": "aws"})
    with Services(paid) as services:
        keep_costs(services, m1=40, m2=50)
        found = cost_by_service(Reviewed(services, load_runbook(), NOW, ()))
    assert found.title == "Cost of 2026-02 by service"
    assert found.rows == [{"service": "AWS Glue", "cost": "50.00", "month before": "40.00"}]
    assert found.sentence == "50.00 USD, 40.00 the month before; 1 of 28 days are known."


def test_a_month_that_was_never_read_is_not_measurable(settings) -> None:
    with Services(settings.model_copy(update={"cost_source": "aws"})) as services:
        found = cost_by_service(Reviewed(services, load_runbook(), NOW, ()))
    assert found.sentence == "Not measurable: no day of it was read."


def test_old_temporary_files_are_listed_and_left(reviewed, settings) -> None:
    path = Path(settings.temp_location) / "left" / "behind"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    old = (NOW - timedelta(days=8)).timestamp()
    os.utime(path, (old, old))
    found = temporary_files(reviewed)
    assert ([row["file"] for row in found.rows], path.exists()) == ([str(path)], True)


def test_a_limit_that_is_met_is_told(reviewed, services) -> None:
    with services.database.transaction() as connection:
        for back in range(40):
            record_size(connection, "disk", (NOW - timedelta(days=back)).date(), 1000 - back)
    limits = {"disk/bytes": CapacityLimit(limit=900, requirements=["SW-66"])}
    runbook = reviewed.runbook.model_copy(update={"capacity": limits})
    found = capacity_of(())(replace(reviewed, runbook=runbook))
    assert [row["series"] for row in found.rows] == ["database: size", "disk: size"]
    assert found.sentence == "1 of 1 limits are met within 90 days."


def test_proposals_that_wait_are_listed(reviewed, services) -> None:
    with services.database.transaction() as connection:
        begin_proposal(connection, "relabel-1", PIPELINE, "silver/events", made_with={}, now=NOW)
    assert [row["proposal"] for row in pending_proposals(reviewed).rows] == ["relabel-1"]


def test_the_page_holds_every_section() -> None:
    rows = [{"service": "a|b", "cost": None}]
    page = page_of(
        "Review", NOW.date(), [Section("Cost", rows, "All known."), Section("X", (), "-")]
    )
    assert page.splitlines() == [
        *("# Review, 2026-03-01", "", "## Cost", "", "All known.", ""),
        *("| service | cost |", "| --- | --- |", "| a/b | - |", "", "## X", "", "-"),
    ]


def test_the_job_answers_all_sections_on_one_page(settings) -> None:
    with running(settings) as platform:
        run = platform.run(monthly_review_job.name)
        assert run.success
        page = _page(run)
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles[1:] == [
        "## Temporary files that nobody uses",
        "## Capacity",
        "## Proposals that wait",
    ]


def test_a_section_that_fails_is_told_and_the_others_are_answered(settings) -> None:
    def broken(reviewed: Reviewed) -> Section:
        raise UnavailableError("the store does not answer")

    job = review_job("monthly_review", [broken, pending_proposals], load_runbook)
    with Services(settings) as services, dg.DagsterInstance.ephemeral() as instance:
        run = job.execute_in_process(
            instance=instance, resources={"services": services}, raise_on_error=False
        )
    assert not run.success
    (failure,) = [one for one in run.all_events if one.is_step_failure]
    page = failure.step_failure_data.user_failure_data.metadata["page"].value
    assert [text in page for text in ("does not answer", "Proposals that wait")] == [True, True]


def test_review_and_maintenance_wait_for_each_other() -> None:
    pools = {
        node.definition.pool
        for job in (monthly_review_job, maintain_job)
        for node in job.graph.nodes
    }
    assert pools == {f"{PIPELINE}_maintenance"}


def _page(run: dg.ExecuteInProcessResult) -> str:
    (output,) = [
        one.event_specific_data.metadata
        for one in run.all_events
        if one.event_type_value == "STEP_OUTPUT"
    ]
    return str(output["page"].value)
