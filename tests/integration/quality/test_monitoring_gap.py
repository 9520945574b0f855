"""What nobody watches is counted: overdue checks, and those not measurable for long (B-14)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_platform.quality.measurements import Measurement, judge, unmeasured
from pipeline_platform.quality.measures import ALL
from pipeline_platform.quality.monitoring_gap import NAME, monitoring_gap
from pipeline_platform.quality.observations import record_verdict
from pipeline_platform.services import Services
from pipeline_platform.web_events.measures import Scope
from pipeline_platform.web_events.run_context import RunContext, load_runbook
from tests.assets.platform_runs import settings_at

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RUNBOOK = load_runbook()
BLOCKING = {one.name for one in RUNBOOK.blocking_thresholds}
CHECKS = [name for name in RUNBOOK.thresholds if name != NAME and name not in BLOCKING]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def opened(new_database, tmp_path_factory) -> Iterator[Services]:
    with Services(settings_at(tmp_path_factory.mktemp("gaps"), new_database())) as found:
        yield found


@pytest.fixture
def services(opened) -> Services:
    """The platform's services, on which no check was evaluated."""
    with opened.database.transaction() as connection:
        connection.execute("TRUNCATE check_observations")
    return opened


def evaluate(services: Services, ago: timedelta, *names: str, is_measured: bool = True) -> None:
    """Evaluate checks so long ago, by default all of them."""
    with services.database.transaction() as connection:
        for name in names or CHECKS:
            found = Measurement(name, 1.0) if is_measured else unmeasured(name, "no access")
            verdict = judge(found, RUNBOOK.thresholds[name])
            record_verdict(connection, RUNBOOK.pipeline, verdict, now=NOW - ago)


def gap(services: Services, **rulings: object) -> Measurement:
    changed = RUNBOOK.rulings.model_copy(update=rulings)
    runbook = RUNBOOK.model_copy(update={"rulings": changed})
    run = RunContext(services, "r", clock=lambda: NOW, runbook=runbook)
    return monitoring_gap(Scope(run, ()))[ALL]


def test_checks_that_were_evaluated_lately_are_no_gap(services) -> None:
    evaluate(services, HOUR)
    assert (gap(services).value, gap(services).denominator) == (0, len(CHECKS))


def test_a_check_that_nobody_evaluates_any_more_is_one(services) -> None:
    evaluate(services, 2 * DAY)
    evaluate(services, HOUR, *CHECKS[1:])
    assert gap(services).offenders == (f"{CHECKS[0]}: not evaluated for 26 hours",)


def test_a_check_that_was_never_evaluated_is_one_once_the_others_are_old(services) -> None:
    evaluate(services, 2 * DAY, *CHECKS[1:])
    evaluate(services, HOUR, *CHECKS[1:])
    assert gap(services).offenders == (f"{CHECKS[0]}: not evaluated for 26 hours",)


def test_a_platform_of_an_hour_has_no_gap(services) -> None:
    evaluate(services, HOUR, CHECKS[0])
    assert gap(services).value == 0


def unmeasurable_for_days(services: Services, days: int) -> None:
    evaluate(services, HOUR, *CHECKS[1:])
    for back in range(days + 1):
        evaluate(services, back * DAY + HOUR, CHECKS[0], is_measured=False)


def test_a_check_that_was_not_measurable_for_a_week_is_one(services) -> None:
    unmeasurable_for_days(services, 7)
    assert gap(services).offenders == (f"{CHECKS[0]}: not measurable for 7 days",)


def test_not_measurable_for_six_days_is_none_yet(services) -> None:
    unmeasurable_for_days(services, 6)
    assert gap(services).value == 0


def test_what_the_runbook_accepts_is_none(services) -> None:
    unmeasurable_for_days(services, 7)
    assert gap(services, accepted_gaps={CHECKS[0]: "no access here"}).value == 0


def test_without_any_observation_nothing_is_known(services) -> None:
    assert gap(services).not_measurable_reason == "no check was evaluated yet"
