"""What does not work of the platform is an incident, and a time in which it was not available."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform.operations import health, health_watch
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.alerting import Reading, Router
from pipeline_platform.operations.faults import Finding
from pipeline_platform.operations.health_periods import probed_periods, remember_probe
from pipeline_platform.operations.health_watch import HealthWatch, with_findings
from pipeline_platform.operations.outage import end_outage, tell_of_outage
from pipeline_platform.operations.plan import alertings
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def watch(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[HealthWatch]:
    monkeypatch.setattr(health_watch, "AGAIN_AFTER_SECONDS", 0.0)
    with dg.DagsterInstance.ephemeral() as instance:
        yield HealthWatch(services, instance)


def round_of(watch: HealthWatch) -> list[tuple[str, str, str]]:
    """Look as the sensor does; return cause, severity and state of each incident."""

    def nothing(reached: object, _: datetime) -> Reading:
        return Reading((), reached, is_complete=True)  # type: ignore[arg-type]

    Router(watch.services).round(with_findings(nothing, watch.look()))
    with watch.services.database.connection() as connection:
        return [(one.cause, one.severity, one.state) for one in store.incidents(connection)]


def broken_landing(watch: HealthWatch) -> Path:
    """Let a file stand where a landing folder must be."""
    folder = Path(watch.services.settings.raw_location)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("This is no folder.")
    return folder


def periods(services: Services) -> list[tuple[float, int, bool]]:
    """Return minutes, probes and whether it was healthy, of each period."""
    with services.database.connection() as connection:
        return [
            ((one.ended_at - one.started_at).total_seconds() / 60, one.probes, one.is_healthy)
            for one in probed_periods(connection, NOON - timedelta(days=1))
        ]


def probe(services: Services, minute: float, *failing: str) -> None:
    with services.database.transaction() as connection:
        remember_probe(connection, failing, NOON + timedelta(minutes=minute))


def test_what_does_not_work_is_a_critical_incident_that_ends_when_it_works_again(
    watch: HealthWatch,
) -> None:
    folder = broken_landing(watch)
    assert round_of(watch) == [("health", "critical", "OPEN")]
    folder.unlink()
    assert round_of(watch) == [("health", "critical", "RESOLVED")]


def test_a_healthy_platform_has_no_incident(watch: HealthWatch) -> None:
    assert round_of(watch) == []


def test_a_silent_daemon_is_told_by_whoever_watches_it(watch: HealthWatch) -> None:
    assert {one.subject for one in watch.look()} == {
        *("database", "lake", "landing", "disk", "last_runs")
    }


def test_what_fails_once_and_works_when_it_is_asked_again_is_no_fault(
    watch: HealthWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = broken_landing(watch)
    monkeypatch.setattr(health_watch.time, "sleep", lambda _: folder.unlink())
    assert all(one.is_fine for one in watch.look())


def test_the_judgement_is_that_of_the_service(watch: HealthWatch) -> None:
    broken_landing(watch)
    probes = health.Probes(watch.services, watch.instance, health_watch.runbooks())
    said = {name: one.status == "ok" for name, one in probes.report().dependencies.items()}
    probes.close()
    seen: Sequence[Finding] = watch.look()
    assert {one.subject: one.is_fine for one in seen} == {
        name: is_fine for name, is_fine in said.items() if name != "dagster"
    }


def test_every_look_is_kept_as_a_probe(watch: HealthWatch) -> None:
    watch.look()
    watch.look()
    with watch.services.database.connection() as connection:
        ((probes,),) = connection.execute("SELECT sum(probes) FROM health_periods").fetchall()
    assert probes == 2


def test_an_answer_holds_until_the_next_probe(services: Services) -> None:
    for minute, failing in ((0, []), (1, []), (2, ["lake"]), (3, ["lake"]), (4, [])):
        probe(services, minute, *failing)
    assert periods(services) == [(2, 2, True), (2, 2, False), (0, 1, True)]


def test_time_between_probes_that_are_far_apart_was_not_probed(services: Services) -> None:
    probe(services, 0)
    probe(services, 60)
    assert periods(services) == [(0, 1, True), (0, 1, True)]


def test_an_outage_of_the_database_is_time_in_which_the_platform_was_not_healthy(
    services: Services,
) -> None:
    tell_of_outage(services.settings, alertings(), NOON)
    end_outage(services, alertings(), NOON + timedelta(minutes=12))
    assert periods(services) == [(12, 1, False)]
