"""Marts of web_events, built by dbt from silver rows on a real lake."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline_platform.lake.marts import MartGroup
from pipeline_platform.orchestration.dbt import ModelBuild
from pipeline_platform.orchestration.mart_builds import build_marts, publish_marts
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.marts import MARTS, mart_variables
from pipeline_platform.web_events.rulings import FunnelStep
from pipeline_platform.web_events.run_context import load_runbook

FUNNEL = [
    FunnelStep(name="visit", event_type="page_view"),
    FunnelStep(name="cart", event_type="add_to_cart"),
    FunnelStep(name="checkout", event_type="page_view", url_path_pattern="/checkout%"),
    FunnelStep(name="purchase", event_type="purchase"),
]
RULINGS = load_runbook().rulings.model_copy(update={"funnel": FUNNEL, "session_minutes": 30})
VARIABLES = mart_variables(RULINGS)


@pytest.fixture(scope="module")
def new_services(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[], str]
) -> Iterator[Callable[..., Services]]:
    """Make platforms of their own, each with its folder and database."""
    with ExitStack() as opened:

        def make(**changes: Any) -> Services:
            home = tmp_path_factory.mktemp("home")
            url = SecretStr(new_database())
            settings = Settings(home=home, environment="test", database_url=url, **changes)
            return opened.enter_context(Services(settings))

        yield make


@pytest.fixture
def services(new_services: Callable[..., Services]) -> Iterator[Services]:
    """A platform of this test alone; its connections end with it, for a server has few."""
    with new_services() as opened:
        yield opened


def build_and_publish(
    services: Services,
    first: date,
    last: date,
    *,
    group: MartGroup = MARTS,
    variables: dict[str, Any] = VARIABLES,
) -> ModelBuild:
    """Build the marts of a range and publish them, as the asset does."""
    build = build_marts(services, group, (first, last), variables, f"marts-{uuid.uuid4().hex[:8]}")
    publish_marts(services, group, build, (first, last))
    return build


def rows_of(services: Services, table: Any, order: str = "ALL") -> list[dict[str, Any]]:
    """Return a table's rows in order, by column name."""
    with services.connect() as con:
        found = services.lake.relation(con, table).order(order).to_arrow_table()
    return found.to_pylist()
