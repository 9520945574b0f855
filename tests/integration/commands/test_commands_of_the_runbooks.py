"""The runbooks' own questions, word by word, answered by the commands that replace theirs."""

from typing import Any

import dagster as dg

from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.run_context import utc_now
from tests.integration.commands.conftest import Processed

LOG = "SELECT count(*) FROM etl_processing_log WHERE status = %s"


def counted(processed: Processed, status: str) -> int:
    with processed.shell.services() as services, services.database.connection() as connection:
        (count,) = connection.execute(LOG, (status,)).fetchone()
    return int(count)


def of_kind(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["what"] == kind]


def test_errors_since_yesterday_are_those_of_the_night(processed: Processed) -> None:
    """SA-11: each refused file of the pipeline is one of them."""
    rows = processed.shell.json(
        "errors", "--pipeline", "advisory", "--since", "yesterday", "--limit", "10000"
    )
    assert len(of_kind(rows, "file")) == counted(processed, "QUARANTINED") > 0


def test_errors_of_the_last_two_hours(processed: Processed) -> None:
    """SW-13."""
    rows = processed.shell.json("errors", "--since", "2h", "--limit", "10000")
    assert len(of_kind(rows, "file")) == counted(processed, "QUARANTINED")


def test_the_last_ten_of_the_archive(processed: Processed) -> None:
    """SA-19: newest last, as `tail` shows them."""
    whole = processed.shell.json("landing", "list", "advisory", "archive")
    listed = processed.shell.json("landing", "list", "advisory", "archive", "--tail", "10")
    assert len(whole) > 10
    assert listed == whole[-10:]


def test_the_last_runs_with_their_status(processed: Processed) -> None:
    """SA-21."""
    rows = processed.shell.json("runs", "--pipeline", "advisory", "--limit", "10")
    workflow = [row for row in rows if row["job"] == "advisory_performance_etl_workflow"]
    assert (0 < len(rows) <= 10, {row["status"] for row in workflow}) == (True, {"SUCCESS"})


def test_sizes_of_partitions_are_those_of_performance_data_alone(processed: Processed) -> None:
    """SA-36: D-7, a table whose name only begins so is none of its partitions."""
    with processed.shell.services() as services, services.database.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS performance_data_quality (i int)")
    rows = processed.shell.json("reports", "partitions")
    names = {row["partition_name"] for row in rows}
    assert "performance_data_2026_03" in names
    assert "performance_data_quality" not in names


def test_the_asset_shows_the_size_of_its_partitions(processed: Processed) -> None:
    """SA-36."""
    rows = processed.shell.json("reports", "partitions")
    key = dg.AssetKey(["advisory_performance", "serving", "performance_data"])
    with processed.shell.services() as services, open_instance(services.settings) as instance:
        made = instance.get_latest_materialization_event(key).asset_materialization
    shown = made.metadata["largest_partitions"].value
    assert f"| {rows[0]['partition_name']} |" in shown.splitlines()[2]
    assert made.metadata["bytes"].value == sum(row["total_bytes"] for row in rows)


def test_retention_tells_limit_and_age_of_each_place(processed: Processed) -> None:
    """SA-45: what is configured beside what is there."""
    today = f"{utc_now():%Y-%m-%d}"
    rows = processed.shell.json("retention")
    places = {row["place"]: row for row in rows}
    archive = next(row for name, row in places.items() if "archive" in name and "advisory" in name)
    assert (archive["kept days"], archive["oldest"], archive["holds"] > 0) == (2557, today, True)
