"""What is asked of the lake is in a log: how long it took, and what was read for it (SW-23)."""

from pathlib import Path

import duckdb
import pytest

from pipeline_platform.api.metrics import Metrics
from pipeline_platform.commands.code_location import CodeLocation
from pipeline_platform.commands.serve import platform_at
from pipeline_platform.definitions import build_defs
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.services import Services
from pipeline_platform.web_events.analyst_queries import newest_queries, run_query
from pipeline_platform.web_events.tables import WEB_EVENTS
from tests.integration.commands.conftest import Shell
from tests.integration.web_events import undone
from tests.integration.web_events.event_files import DAY

SQL = "SELECT count(*) FROM web_events_silver.web_events\n WHERE event_date = $last_date"


@pytest.fixture(scope="module")
def asked(new_services) -> Services:
    """A platform with a day of events, of which two queries were asked, one of them wrong."""
    services = new_services()
    undone.first_delivery(services)
    run_query(services, SQL, DAY, name="events of a day")
    with pytest.raises(duckdb.BinderException):
        run_query(services, SQL.replace("event_date", "no_column"), DAY, name="wrong")
    return services


@pytest.fixture(scope="module")
def shell(asked: Services) -> Shell:
    return Shell(asked.settings.home, asked.settings.database_url.get_secret_value())


def test_a_query_is_listed_with_what_it_read(asked: Services, shell: Shell) -> None:
    found = {one["name"]: one for one in shell.json("queries", "list", "--pipeline", "web")}
    paths = [Path(one.removeprefix("file://")) for one in asked.lake.files(WEB_EVENTS)]
    query = found["events of a day"]
    assert (query["files"], query["rows"], query["bytes"], query["error"]) == (
        len(paths),
        20,
        sum(path.stat().st_size for path in paths),
        None,
    )
    assert query["seconds"] > 0


def test_a_query_is_shown_by_its_id_with_the_snapshot_that_it_read(
    asked: Services, shell: Shell
) -> None:
    (query,) = [one for one in shell.json("queries", "list") if one["name"] == "events of a day"]
    (read,) = shell.json("queries", "show", query["query"][:13])
    snapshot = asked.lake.last_publication(WEB_EVENTS).snapshot_id
    assert (read["table"], read["snapshot"]) == ("web_events/silver/web_events", snapshot)


def test_a_query_that_failed_says_why(shell: Shell) -> None:
    (query,) = [one for one in shell.json("queries", "list") if one["name"] == "wrong"]
    assert "no_column" in query["error"]


@pytest.mark.parametrize("name", ["", "no-such"])
def test_an_unknown_query_is_wrong_use(shell: Shell, name: str) -> None:
    assert shell("queries", "show", name).exit_code == 2


def test_the_latest_of_each_is_a_metric(asked: Services) -> None:
    definitions = build_defs(asked.settings, {"services": asked})
    graph = definitions.resolve_asset_graph()
    with open_instance(asked.settings) as instance:
        location = CodeLocation(asked, definitions, graph, instance)
        families = {one.name: one for one in Metrics(platform_at(location))._lake_queries()}
    read = {one.labels["query"]: one.value for one in families["lake_query_files"].samples}
    assert read["events of a day"] == 1


def test_the_queries_whose_time_is_checked_are_logged_by_their_names(
    asked: Services, shell: Shell
) -> None:
    name, ask = next(iter(newest_queries(asked).items()))
    ask()
    assert name in {one["name"] for one in shell.json("queries", "list")}


def test_a_database_that_only_reads_does_not_fail_the_query(asked: Services) -> None:
    reading = asked.only_reading(asked.lake)
    try:
        assert run_query(reading, SQL, DAY, name="read only") == [(20,)]
    finally:
        reading.database.close()
