"""`optimize`, `restore`, `backup` and `maintenance` over a processed platform and an empty one."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.commands.lake_tables import table_named, tables_of
from pipeline_platform.failures import NotFoundError
from tests.assets.content import lake_content
from tests.integration.commands.conftest import Processed, Shell

HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)
BRONZE = "advisory_performance/bronze/vendor_rows"
JANUARY = ("--partition", "2026-01-01")


def tree(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in (folder / "lake").rglob("*") if p.is_file()}


def everything(shell: Shell) -> Any:
    with shell.services() as services:
        return lake_content(services, without_instants=False)


def test_maintenance_of_a_pipeline_changes_no_content(processed: Processed) -> None:
    before = everything(processed.shell)
    done = processed.shell("maintenance", "run", "advisory")
    assert (done.exit_code, everything(processed.shell)) == (0, before)


def test_maintenance_is_logged(processed: Processed) -> None:
    processed.shell("maintenance", "run", "advisory")
    found = processed.shell.json("maintenance", "log", "advisory")
    assert {one["operation"] for one in found} >= {
        *("compaction", "statistics", "expiry", "orphans", "clean-up"),
    }
    assert {one["outcome"] for one in found} == {"DONE"}


def test_a_dry_run_of_all_maintenance_changes_nothing(processed: Processed) -> None:
    before = tree(processed.shell.home)
    done = processed.shell("maintenance", "run", "advisory", "--dry-run")
    assert (done.exit_code, tree(processed.shell.home)) == (0, before)


def test_a_table_is_optimized_by_its_noun(processed: Processed) -> None:
    found = processed.shell.json("optimize", "time_weighted_returns", "--type", "all")
    assert [(one["table"], one["operation"]) for one in found] == [
        ("gold/time_weighted_returns", "compaction"),
        ("gold/time_weighted_returns", "statistics"),
        ("gold/time_weighted_returns", "expiry"),
        ("gold/time_weighted_returns", "orphans"),
    ]


def test_an_unknown_table_is_wrong_use(shell: Shell) -> None:
    result = shell("optimize", "nothing_of_that_name")
    assert (result.exit_code, "choose from" in result.stderr) == (2, True)


def test_a_table_can_be_named_in_full() -> None:
    assert table_named(BRONZE) == table_named("vendor_rows") == table_named("bronze/vendor_rows")


def test_a_part_of_a_noun_is_no_name() -> None:
    with pytest.raises(NotFoundError):
        table_named("rows")


@pytest.fixture
def delivered(shell: Shell, tmp_path: Path) -> Shell:
    """A platform that took in two files of January, one after the other."""
    for number in (1, 2):
        path = tmp_path / f"standard_{number}.csv"
        path.write_text(f"{HEADER}A{number},2026-01-05,{number}.00,,,,,USD\n")
        assert shell("landing", "put", str(path)).exit_code == 0
        assert shell("landing", "ingest").exit_code == 0
    return shell


def bronze_rows(shell: Shell) -> int:
    with shell.services() as services:
        return sum(services.lake.partitions(table_named(BRONZE)).values())


def first_snapshot(shell: Shell) -> str:
    with shell.services() as services:
        return str(services.lake.snapshots(table_named(BRONZE))[0].snapshot_id)


def test_a_partition_is_restored_to_a_snapshot(delivered: Shell) -> None:
    found = delivered.json(
        "restore", "vendor_rows", *JANUARY, "--snapshot", first_snapshot(delivered)
    )
    assert (found["rows now"], found["rows after"], bronze_rows(delivered)) == (2, 1, 1)


def test_a_partition_is_restored_as_of_an_instant(delivered: Shell) -> None:
    with delivered.services() as services:
        at = services.lake.snapshots(table_named(BRONZE))[0].committed_at.isoformat()
    delivered.json("restore", "vendor_rows", *JANUARY, "--as-of", at)
    assert bronze_rows(delivered) == 1


def test_a_dry_run_of_a_restoration_changes_nothing(delivered: Shell) -> None:
    before = tree(delivered.home)
    found = delivered.json(
        "restore", "vendor_rows", *JANUARY, "--snapshot", first_snapshot(delivered), "--dry-run"
    )
    assert (found["rows that go"], found["rows that come back"]) == (1, 0)
    assert tree(delivered.home) == before


def test_a_restoration_is_logged_with_its_proof(delivered: Shell) -> None:
    delivered.json("restore", "vendor_rows", *JANUARY, "--snapshot", first_snapshot(delivered))
    with delivered.services() as services, services.database.connection() as connection:
        found = connection.execute(
            "SELECT operation, outcome, proof ->> 'rows now', proof ->> 'rows after'"
            " FROM maintenance_runs"
        ).fetchall()
    assert found == [("restore", "DONE", "2", "1")]


def test_a_backup_brings_a_partition_back(delivered: Shell, tmp_path: Path) -> None:
    folder = str(tmp_path / "backup")
    made = delivered.json("backup", "table", "vendor_rows", "--to", folder)
    delivered.json("restore", "vendor_rows", *JANUARY, "--snapshot", first_snapshot(delivered))
    delivered.json("restore", "vendor_rows", *JANUARY, "--from", folder)
    assert (made["rows"], bronze_rows(delivered)) == (2, 2)


def test_a_sound_backup_is_verified(delivered: Shell, tmp_path: Path) -> None:
    folder = str(tmp_path / "backup")
    delivered.json("backup", "table", "vendor_rows", "--to", folder)
    assert delivered("backup", "verify", folder).exit_code == 0


def test_a_damaged_backup_is_not(delivered: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    delivered.json("backup", "table", "vendor_rows", "--to", str(folder))
    next((folder / "data").iterdir()).write_bytes(b"x")
    assert delivered("backup", "verify", str(folder)).exit_code == 2


@pytest.mark.parametrize("source", [(), ("--snapshot", "1", "--as-of", "2026-01-05")])
def test_a_restoration_needs_exactly_one_source(shell: Shell, source: tuple[str, ...]) -> None:
    assert shell("restore", "vendor_rows", *JANUARY, *source).exit_code == 2


def test_every_table_of_every_pipeline_can_be_named() -> None:
    names = {table.name for pipeline in ("advisory_performance", "web_events")
             for table in tables_of(pipeline)}  # fmt: skip
    assert {table_named(name).name for name in names} == names
    assert {"web_events", "daily_summary", "vendor_rows", "quality_summary"} <= names


def test_a_table_of_a_pipeline_that_took_in_nothing_is_no_error(shell: Shell) -> None:
    assert shell("optimize", "web_events", "--type", "compaction", "--dry-run").exit_code == 0


def test_rows_of_the_default_partition_are_drained_once(shell: Shell) -> None:
    with shell.services() as opened, opened.database.transaction() as connection:
        connection.execute("INSERT INTO vendors VALUES ('standard', 'Standard')")
        connection.execute("CREATE TABLE stray PARTITION OF performance_data DEFAULT")
        connection.execute(
            "INSERT INTO performance_data"
            " (account_id, as_of_date, data_source, reconciliation_status)"
            " VALUES ('A', '2024-10-31', 'standard', 'COMPLETED')"
        )
    planned = shell.json("maintenance", "drain", "--dry-run")
    drained = shell.json("maintenance", "drain")
    (logged,) = shell.json("maintenance", "log")
    assert [(one["month"], one["rows"]) for one in planned] == [("2024-10", 1)]
    assert (planned, shell.json("maintenance", "drain")) == (drained, [])
    assert (logged["operation"], logged["outcome"]) == ("drain", "DONE")
