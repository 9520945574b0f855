"""Every route of `routes.csv` passes one fault from person to person while nobody answers (SA-100).

The generated matrix (B-1) takes a route as tested if it has a line there, and `make check` fails
while one has none.
"""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_platform.operations.plan import alertings, runbooks
from pipeline_platform.runbook import Runbook
from tests.unit.operations.broken_things import Desk, finding

FILE = Path(__file__).with_name("routes.csv")
ROUTES = list(csv.DictReader(FILE.open(encoding="utf-8")))
LAST_MINUTE = 3000


def told(
    pipeline: str,
    route: str,
    severity: str,
    response_minutes: int | None = None,
    last_minute: int = LAST_MINUTE,
) -> list[str]:
    """Break one thing and never answer; return each minute at which somebody is told, and whom."""
    alerting = alertings()[pipeline]
    ladder = alerting.routes[route].ladder
    broken = replace(
        finding(event_id=1, severity=severity),
        pipeline=pipeline,
        route=route,
        response_minutes=response_minutes or alerting.responses[severity],
    )
    desk, found = Desk(), []
    for minute in range(0, last_minute, 5):
        if desk.round([] if minute else [broken], minute).events:
            (incident,) = desk.open
            found.append(f"{minute} {ladder[incident.level]}")
    return found


@pytest.mark.parametrize("line", ROUTES, ids=lambda line: f"{line['pipeline']} {line['route']}")
def test_a_fault_is_passed_from_person_to_person(line: dict[str, str]) -> None:
    assert "; ".join(told(line["pipeline"], line["route"], line["severity"])) == line["told"]


def test_every_route_has_a_line() -> None:
    shipped = {
        (pipeline, name, route.severity)
        for pipeline, alerting in alertings().items()
        for name, route in alerting.routes.items()
    }
    assert {(line["pipeline"], line["route"], line["severity"]) for line in ROUTES} == shipped


def test_four_levels_are_told_after_half_an_hour_an_hour_and_two(monkeypatch) -> None:
    """SP-18: level 1 has 30 minutes, level 2 another 30, level 3 an hour; then level 4."""
    web = alertings()["web_events"]
    waits = {"first": 30, "second": 30, "third": 60, "fourth": 60}
    (person, *_) = web.contacts.values()
    contacts = {
        name: person.model_copy(update={"answers_within_minutes": minutes})
        for name, minutes in waits.items()
    }
    route = web.routes["data_corruption"].model_copy(update={"ladder": list(waits)})
    other = web.model_copy(
        update={"contacts": contacts, "routes": {**web.routes, "data_corruption": route}}
    )
    for module in ("tests.unit.operations.broken_things", __name__):
        monkeypatch.setattr(f"{module}.alertings", lambda: {"web_events": other})
    assert told("web_events", "data_corruption", "critical") == [
        "0 first",
        "30 second",
        "60 third",
        "120 fourth",
    ]


PRIORITIES = {"P0": 15, "P1": 60, "P2": 240, "P3": 1440}
"""SP-14 to SP-17: minutes in which each must be answered."""


@pytest.mark.parametrize("priority", PRIORITIES)
def test_each_priority_is_passed_on_when_its_own_time_is_over(priority: str) -> None:
    minutes = PRIORITIES[priority]
    assert told("advisory_performance", "data_corruption", "critical", minutes, 2 * minutes) == [
        "0 data_engineering",
        f"{minutes} platform_engineering",
    ]


@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_band_of_a_runbook_takes_each_priority(priority: str) -> None:
    document = runbooks()["advisory_performance"].model_dump()
    band = document["thresholds"]["data_validity"]["bands"][0]
    band["response_minutes"] = PRIORITIES[priority]
    runbook = Runbook.model_validate(document)
    bands = runbook.thresholds["data_validity"].bands
    assert bands[0].response_minutes == PRIORITIES[priority]
