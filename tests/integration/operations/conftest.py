from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from tests.integration.landing.local_s3 import running_server
from tests.integration.operations.desk import Desk
from tests.integration.operations.local_channels import LocalChannels
from tests.integration.operations.local_costs import LocalCosts


@pytest.fixture(scope="package")
def cost_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCosts]:
    with running_server(tmp_path_factory.mktemp("moto")) as address:
        yield LocalCosts(address)


@pytest.fixture
def costs(cost_server: LocalCosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCosts]:
    """The server without any answer; the clients of this test speak to it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_COST_EXPLORER", cost_server.address)
    cost_server.forget()
    yield cost_server
    cost_server.accept_everybody()


@pytest.fixture
def paid(settings: Settings) -> Settings:
    """Settings with a source of cost."""
    return settings.model_copy(update={"cost_source": "cost_explorer"})


@pytest.fixture
def services(paid: Settings) -> Iterator[Services]:
    with Services(paid) as opened:
        yield opened


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    """A platform of which only the channel `slack` is configured, as a webhook."""
    with LocalChannels() as channels:
        address = SecretStr(f"json://{channels.address}/hook")
        given = settings.model_copy(update={"channels": {"slack": address}})
        with Services(given) as services:
            yield Desk(services, channels)
