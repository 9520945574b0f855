"""`impact` of a run and of a partition, and what `explain` says against the version before."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.commands.lake_tables import table_named
from tests.integration.commands.conftest import Processed, Shell
from tests.integration.commands.test_maintenance import BRONZE, HEADER

VALUATIONS = "advisory_performance/silver/valuations"
RETURNS = "advisory_performance/gold/time_weighted_returns"
SERVED = "advisory_performance/serving/performance_data"
DAY, MONTH = "2026-03-03", "2026-03-01"
JANUARY = "2026-01"


def accounts_of(processed: Processed, where: str) -> set[str]:
    """Return the accounts of silver's rows, read without the command."""
    with processed.shell.services() as services, services.connect() as engine:
        rows = services.lake.relation(engine, table_named("valuations"))
        return {one for (one,) in rows.filter(where).project("account_id").fetchall()}


def made(found: Any) -> dict[str, dict[str, Any]]:
    return {one["asset"]: one for one in found["made_from_it"]}


@pytest.fixture(scope="module")
def workflow(processed: Processed) -> str:
    (one, *_) = processed.shell.json("runs", "--asset", VALUATIONS)
    return str(one["run"])


@pytest.fixture(scope="module")
def of_run(processed: Processed, workflow: str) -> Any:
    return processed.shell.json("impact", "--run", workflow[:10])


@pytest.fixture(scope="module")
def of_partition(processed: Processed) -> Any:
    return processed.shell.json("impact", "--table", "valuations", "--partition", DAY)


@pytest.fixture(scope="module")
def of_ingest(processed: Processed) -> Any:
    with processed.shell.services() as services, services.database.connection() as connection:
        (run,) = connection.execute("SELECT DISTINCT run_id FROM etl_processing_log").fetchone()
    return processed.shell.json("impact", "--run", run)


def test_a_run_begins_where_it_published(processed: Processed, of_run, workflow: str) -> None:
    published = processed.shell.json("run", "show", workflow)["published"]
    starts = {one["table"]: one["partitions"] for one in of_run["starts"]}
    assert starts == {one["table"]: one["partitions"] for one in published}


def test_what_a_run_published_is_served(of_run) -> None:
    assert MONTH in made(of_run)[SERVED]["partitions"]


def test_whom_a_run_changed_is_told(processed: Processed, of_run) -> None:
    assert set(of_run["accounts"]) == accounts_of(processed, "true")


def test_a_command_that_took_files_in_begins_in_bronze(of_ingest) -> None:
    assert [one["table"] for one in of_ingest["starts"]] == [BRONZE]


def test_what_was_made_from_its_files_is_named_with_the_run_that_did(
    of_ingest, workflow: str
) -> None:
    assert {made(of_ingest)[one]["by"][0] for one in (VALUATIONS, RETURNS)} == {workflow}


def test_a_day_is_meant_as_the_partition_that_holds_it(of_partition) -> None:
    assert of_partition["starts"] == [
        {"table": VALUATIONS, "partitions": [MONTH], "since (UTC)": None}
    ]


def test_a_month_touches_itself_and_all_that_link_from_it_in_gold(of_partition) -> None:
    assert made(of_partition)[RETURNS]["partitions"][0] == MONTH


def test_a_partition_touches_whose_rows_it_has(processed: Processed, of_partition) -> None:
    assert set(of_partition["accounts"]) == accounts_of(
        processed, f"date_trunc('month', as_of_date) = DATE '{MONTH}'"
    )


def test_what_is_served_has_its_readers(of_partition) -> None:
    assert made(of_partition)[SERVED]["read by"] == ["only the platform's own role"]


def test_a_run_that_published_nothing_is_wrong_use(processed: Processed) -> None:
    assert processed.shell("impact", "--run", "no-such-run").exit_code == 2


def test_a_ruling_is_explained_by_all_that_was_compared(processed: Processed) -> None:
    inputs = processed.shell.json("explain", "reconciliation", "2026-03")["inputs"]
    assert {one["input"].split("/")[-1] for one in inputs} == {
        *("time_weighted_returns", "reported_returns", "valuations", "external_flows"),
    }


# --- against the version before ------------------------------------------------------------------


@pytest.fixture(scope="module")
def delivered(tmp_path_factory, new_database) -> Shell:
    """Two files of January, one after the other, then the first one is taken back."""
    folder: Path = tmp_path_factory.mktemp("versions")
    shell = Shell(folder / "home", new_database())
    for number in (1, 2):
        path = folder / f"standard_{number}.csv"
        path.write_text(f"{HEADER}A{number},2026-01-05,{number}.00,,,,,USD\n")
        assert shell("landing", "put", str(path)).exit_code == 0
        assert shell("landing", "ingest").exit_code == 0
    return shell


@pytest.fixture(scope="module")
def second(delivered: Shell) -> Any:
    return delivered.json("explain", "vendor_rows", JANUARY)


def test_rows_are_counted_against_the_version_before(second) -> None:
    told = second["difference"]
    names = ("rows now", "rows before", "rows that are new", "rows that are gone")
    assert [told[name] for name in names] == [2, 1, 1, 0]


def test_the_version_before_is_named_by_its_run(delivered: Shell, second) -> None:
    with delivered.services() as services, services.database.connection() as connection:
        (run,) = connection.execute(
            "SELECT run_id FROM etl_processing_log WHERE file_name = 'standard_1.csv'"
        ).fetchone()
    assert second["difference"]["before, by run"] == run


def test_the_same_code_is_said_to_be_the_same(second) -> None:
    assert second["difference"]["code"] == "the same"


def test_what_is_new_is_the_file(second) -> None:
    assert [(one["input"], one["new since the version before"]) for one in second["inputs"]] == [
        ("standard_2.csv", "the file itself")
    ]


def test_rows_that_were_taken_back_are_gone(delivered: Shell, second) -> None:
    with delivered.services() as services, services.database.connection() as connection:
        (sha256,) = connection.execute(
            "SELECT file_sha256 FROM etl_processing_log WHERE file_name = 'standard_1.csv'"
        ).fetchone()
    result = delivered("landing", "withdraw", sha256[:16], "--reason", "test")
    assert result.exit_code == 0, result.output
    told = delivered.json("explain", "vendor_rows", JANUARY)["difference"]
    assert (told["rows before"], told["rows that are gone"], told["rows that are new"]) == (2, 1, 0)
