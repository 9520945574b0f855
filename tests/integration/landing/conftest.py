from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline_platform.landing.zone import LandingZone
from pipeline_platform.settings import Settings
from tests.integration.landing.local_s3 import running_server, s3_client, settings_in_s3


@dataclass(frozen=True)
class Place:
    """A landing zone, and how a sender outside the platform writes into its `incoming/`."""

    zone: LandingZone
    settings: Settings
    deliver: Callable[[str, bytes], None]


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("moto")) as address:
        yield address


def local_place(home: Path) -> Place:
    settings = Settings(home=home)
    incoming = home / "landing" / "advisory" / "incoming"

    def deliver(key: str, content: bytes) -> None:
        path = incoming / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return Place(LandingZone(settings, "advisory"), settings, deliver)


def s3_place(endpoint: str, home: Path) -> Place:
    settings = settings_in_s3(endpoint, home)
    bucket = settings.raw_location.split("/")[2]

    def deliver(key: str, content: bytes) -> None:
        s3_client(endpoint).put_object(
            Bucket=bucket, Key=f"raw/advisory/incoming/{key}", Body=content
        )

    return Place(LandingZone(settings, "advisory"), settings, deliver)


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The same zone, once on a local folder and once on S3."""
    if request.param == "local":
        return local_place(tmp_path)
    return s3_place(request.getfixturevalue("s3_endpoint"), tmp_path)


@pytest.fixture
def zone(place: Place) -> LandingZone:
    return place.zone
