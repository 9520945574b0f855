"""The database does not answer: who is told meanwhile, and what is kept afterwards (SA-89)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.operations import incident_store as store
from pipeline_platform.operations.outage import end_outage, is_answering, tell_of_outage
from pipeline_platform.operations.plan import alertings
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.operations.local_channels import LocalChannels

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOWHERE = SecretStr("postgresql://ada:hidden@127.0.0.1:9/platform")


@pytest.fixture
def channels() -> Iterator[LocalChannels]:
    with LocalChannels() as server:
        yield server


@pytest.fixture
def told(settings: Settings, channels: LocalChannels) -> Settings:
    """Settings with a database that answers, and with channels."""
    here = {name: SecretStr(f"json://{channels.address}/{name}") for name in ("pagerduty", "slack")}
    return settings.model_copy(update={"channels": here})


@pytest.fixture
def away(told: Settings) -> Settings:
    """The same settings with a database that does not answer."""
    return told.model_copy(update={"database_url": NOWHERE})


def tell(settings: Settings, minute: float) -> None:
    tell_of_outage(settings, alertings(), NOON + timedelta(minutes=minute))


def kinds(channels: LocalChannels) -> list[str]:
    return [one.body["kind"] for one in channels.requests if one.path == "/pagerduty"]


def test_it_is_known_whether_the_database_answers(told: Settings, away: Settings) -> None:
    assert (is_answering(told), is_answering(away)) == (True, False)


def test_an_outage_is_told_once_with_the_command_that_mends_it(
    away: Settings, channels: LocalChannels
) -> None:
    for minute in (0, 1, 2):
        tell(away, minute)
    assert kinds(channels) == ["opened"]
    assert "Command: pipeline-platform database start" in channels.requests[0].body["message"]


def test_the_ladder_is_climbed_while_it_lasts(away: Settings, channels: LocalChannels) -> None:
    for minute in range(0, 120, 5):
        tell(away, minute)
    assert kinds(channels) == ["opened", "escalated", "escalated"]
    assert len({one.body["incident_key"] for one in channels.requests}) == 1


def test_whom_no_channel_reached_is_told_by_the_next_call(
    away: Settings, channels: LocalChannels
) -> None:
    channels.status = 503
    tell(away, 0)
    channels.status = 200
    tell(away, 1)
    tell(away, 2)
    assert kinds(channels) == ["opened", "opened"]
    assert len({one.body["key"] for one in channels.requests}) == 1


def test_the_end_is_told_and_the_outage_is_an_incident_with_its_length(
    told: Settings, away: Settings, channels: LocalChannels
) -> None:
    tell(away, 0)
    with Services(told) as services:
        for minute in (7, 8):
            end_outage(services, alertings(), NOON + timedelta(minutes=minute))
        with services.database.connection() as connection:
            (kept,) = store.incidents(connection)
    assert kinds(channels) == ["opened", "resolved"]
    assert (kept.state, kept.severity, kept.route) == (
        "RESOLVED", "critical", "database_connectivity",
    )  # fmt: skip
    assert kept.resolved_at - kept.began_at == timedelta(minutes=7)


def test_the_command_says_so_with_code_75_and_shows_no_address(
    away: Settings, channels: LocalChannels, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["alerts", "send"], env=away.to_env())
    assert result.exit_code == 75
    assert "does not answer" in result.stderr
    assert "hidden" not in result.output
    assert kinds(channels) == ["opened"]
