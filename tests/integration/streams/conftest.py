"""A Kinesis stream over HTTP and made-up credentials for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.landing.local_s3 import MADE_UP_CREDENTIALS
from tests.integration.streams.local_kinesis import LocalKinesis
from tests.integration.streams.sample_intake import ClicksIntake, clicks_intake

STREAM = "clicks"


@pytest.fixture
def made_up_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in MADE_UP_CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def kinesis(made_up_credentials: None) -> Iterator[LocalKinesis]:
    """A stream of two shards."""
    with LocalKinesis(STREAM, shards=2) as server:
        yield server


@pytest.fixture
def stream_settings(kinesis: LocalKinesis, tmp_path: Path) -> Settings:
    """Settings that reach the stream, and no database."""
    return Settings(home=tmp_path / "home", kinesis_endpoint=kinesis.address)


@pytest.fixture
def settings(settings: Settings, kinesis: LocalKinesis) -> Settings:
    """Settings with database, lake, landing zone and stream."""
    return settings.model_copy(update={"kinesis_endpoint": kinesis.address})


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services(settings) as opened:
        yield opened


@pytest.fixture
def intake(services: Services) -> ClicksIntake:
    return clicks_intake(services, "run-1")
