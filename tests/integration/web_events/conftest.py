"""Marts of web_events, built by dbt from silver rows on a real lake."""

import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline_platform.lake.marts import MartGroup
from pipeline_platform.orchestration.dbt import ModelBuild
from pipeline_platform.orchestration.marts import build_marts, publish_marts
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events.marts import MARTS, MartRulings

RULINGS = MartRulings.model_validate(
    {
        "page_view_types": ["page_view"],
        "funnel_steps": [
            {"name": "visit", "event_type": "page_view"},
            {"name": "cart", "event_type": "add_to_cart"},
            {"name": "checkout", "event_type": "page_view", "url_path_pattern": "/checkout%"},
            {"name": "purchase", "event_type": "purchase"},
        ],
    }
)
VARIABLES = RULINGS.variables(session_minutes=30)
Build = Callable[..., ModelBuild]


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[], str]
) -> Iterator[Services]:
    """A platform of this module alone."""
    home: Path = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, environment="test", database_url=SecretStr(new_database()))
    with Services(settings) as opened:
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
