"""`reports restatements --seen`: who was handed a figure before a later file corrected it (B-4)."""

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.commands.conftest import Shell, own_platform

ME = f"cli:{getpass.getuser()}"
HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)
BEFORE = [
    ("passport", "A", "2026-01-06"),
    ("reports", "as-known", "A", "2026-01-06", "--at", "2026-01-06"),
    ("reports", "reconciliation", "--vendor", "standard"),
    ("vendor", "evidence", "standard", "--from", "2026-01-05", "--to", "2026-01-06"),
    ("passport", "B", "2026-01-06"),
    ("reports", "reconciliation", "--to", "2026-01-05"),
]


def deliver(shell: Shell, folder: Path, number: int, value: str) -> None:
    """Take a file in and serve its month; account A has another value on the second day."""
    path = folder / f"standard_{number}.csv"
    path.write_text(
        f"{HEADER}A,2026-01-05,100.00,,,,,USD\nA,2026-01-06,{value},,,0.1,daily,USD\n"
        f"B,2026-01-05,100.00,,,,,USD\nB,2026-01-06,101.00,,,,,USD\n"
    )
    assert shell("landing", "put", str(path)).exit_code == 0
    assert shell("landing", "ingest").exit_code == 0
    assert shell("partitions", "process", "--anyway").exit_code in (0, 1)


def values(shell: Shell) -> list[dict[str, Any]]:
    """Return the restated values of account A, the latest first."""
    found = shell.json("reports", "restatements", "--seen", "--account", "A")
    return [one for one in found if one["measure"] == "market_value"]


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A platform that served a value, was asked for it, and then served the corrected one."""
    folder = tmp_path_factory.mktemp("seen")
    with own_platform(folder / "home") as shell:
        deliver(shell, folder, 1, "110.00")
        for command in BEFORE:
            result = shell(*command)
            assert result.exit_code == 0, result.output
        deliver(shell, folder, 2, "105.00")
        assert shell("passport", "A", "2026-01-06").exit_code == 0
        yield shell


def loads(shell: Shell) -> list[str]:
    with shell.services() as services, services.database.connection() as connection:
        rows = connection.execute("SELECT served_at FROM served_loads ORDER BY served_at")
        return [instant.isoformat() for (instant,) in rows]


def test_the_old_figure_was_served_from_its_load_until_the_next(corrected: Shell) -> None:
    (value,) = values(corrected)
    assert [value["served_since"], value["served_until"]] == loads(corrected)


def test_only_reads_of_the_old_figure_are_listed(corrected: Shell) -> None:
    (value,) = values(corrected)
    assert [(one["reader"], one["command"]) for one in value["reads"]] == [
        (ME, "passport"),
        (ME, "reports as-known"),
        (ME, "reports reconciliation"),
        (ME, "vendor evidence"),
    ]


def test_a_material_change_that_was_served_is_told_and_issued_again(corrected: Shell) -> None:
    (value,) = values(corrected)
    assert (value["is_material"], "compliance" in value["notify"], value["reissue"]) == (
        True,
        True,
        True,
    )


def test_roles_that_may_read_by_sql_are_named(corrected: Shell) -> None:
    with corrected.services() as services, services.database.transaction() as connection:
        connection.execute("CREATE ROLE curious LOGIN")
        connection.execute("GRANT SELECT ON performance_data TO curious")
    try:
        assert values(corrected)[0]["may_read_by_sql"] == ["curious"]
        shown = corrected("reports", "restatements", "--seen")
        assert "By SQL it could be read by: curious" in shown.output
    finally:
        with corrected.services() as services, services.database.transaction() as connection:
            connection.execute("DROP OWNED BY curious")
            connection.execute("DROP ROLE curious")


def test_without_seen_a_restatement_is_what_it_was(corrected: Shell) -> None:
    found = corrected.json("reports", "restatements", "--account", "A")
    assert not {"reads", "old_in_gold", "served_since"} & set(found[0])


def test_who_asks_for_restatements_is_handed_the_new_figures(corrected: Shell) -> None:
    corrected("reports", "restatements", "--account", "A", "--from", "2026-01-06")
    with corrected.services() as services, services.database.connection() as connection:
        (read,) = connection.execute(
            "SELECT reader, account_id, vendor FROM figure_reads"
            " WHERE command = 'reports restatements' AND first_day = '2026-01-06'"
        ).fetchall()
    assert read == (ME, "A", None)


def test_restatements_that_show_no_figure_hand_out_none(corrected: Shell) -> None:
    corrected("reports", "restatements", "--account", "nobody's")
    with corrected.services() as services, services.database.connection() as connection:
        found = connection.execute("SELECT FROM figure_reads WHERE account_id = 'nobody''s'")
        assert found.fetchall() == []


def test_a_figure_that_cannot_be_recorded_is_not_shown(corrected: Shell) -> None:
    with corrected.services() as services, services.database.transaction() as connection:
        connection.execute("ALTER TABLE figure_reads RENAME TO figure_reads_away")
    try:
        result = corrected("passport", "A", "2026-01-06")
        assert isinstance(result.exception, psycopg.errors.UndefinedTable)
        assert "Delivered lines" not in result.output
    finally:
        with corrected.services() as services, services.database.transaction() as connection:
            connection.execute("ALTER TABLE figure_reads_away RENAME TO figure_reads")
