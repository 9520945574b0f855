"""`maintenance drain`, killed at lines all through a month: no row is lost or seen twice (B-13)."""

import multiprocessing
import os
import signal
from typing import Any

import psycopg
import pytest

from pipeline_platform.code_version import PACKAGE
from pipeline_platform.commands import maintenance
from tests.faults.lines import counted_lines

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
DRAINING = ("_drain", "drain_month", "_move")
MONTHS, ROWS = 2, 200
KILLS = 6
ADD = """
    INSERT INTO performance_data
        (account_id, as_of_date, data_source, reconciliation_status, market_value)
    SELECT 'account ' || i, make_date(%(year)s, 1 + i %% %(months)s, 1 + i %% 28), 'standard',
        'COMPLETED', i
    FROM generate_series(1, %(rows)s) AS i
"""


def drain(environment: dict[str, str], kill_at: int | None, lines: Any) -> None:
    os.environ.update(environment)
    with counted_lines(str(PACKAGE), kill_at=kill_at, functions=DRAINING) as counted:
        maintenance.drain()
    lines.value = counted.count


class Warehouse:
    """A database with a default partition, into which a year's first months can fall."""

    def __init__(self, url: str, home: str) -> None:
        self.url = url
        self._environment = {"PLATFORM_HOME": home, "PLATFORM_DATABASE_URL": url}
        self.run("INSERT INTO vendors VALUES ('standard', 'Standard')")
        self.run("CREATE TABLE stray PARTITION OF performance_data DEFAULT")

    def run(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            found = connection.execute(query, values or None)
            return found.fetchall() if found.description else []

    def add(self, year: int) -> None:
        self.run(ADD, year=year, months=MONTHS, rows=ROWS)

    def drain(self, kill_at: int | None = None) -> tuple[int | None, int]:
        """Run the command in its own process; return its exit code and how many lines it ran."""
        lines = PROCESSES.Value("i", 0)
        child = PROCESSES.Process(target=drain, args=(self._environment, kill_at, lines))
        child.start()
        child.join(60)
        return child.exitcode, lines.value

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        return self.run(
            "SELECT account_id, as_of_date, market_value FROM performance_data ORDER BY 2, 1"
        )

    @property
    def places(self) -> list[tuple[Any, ...]]:
        """Where each month's rows lie."""
        return self.run(
            "SELECT to_char(as_of_date, 'YYYY_MM'), array_agg(DISTINCT tableoid::regclass::text)"
            " FROM performance_data GROUP BY 1 ORDER BY 1"
        )

    @property
    def left(self) -> int:
        """Tables that were begun and not attached."""
        ((count,),) = self.run(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'loading'::regnamespace"
        )
        return int(count)


@pytest.fixture(scope="module")
def warehouse(new_database, tmp_path_factory) -> Warehouse:
    return Warehouse(new_database(), str(tmp_path_factory.mktemp("drain") / "home"))


@pytest.fixture(scope="module")
def lines(warehouse: Warehouse) -> int:
    """How many lines a drain of two months runs that nobody kills."""
    warehouse.add(2000)
    exit_code, count = warehouse.drain()
    assert exit_code == 0
    return count


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_it_leaves_every_month_whole_and_the_next_ends_it(warehouse, lines, number) -> None:
    warehouse.add(2001 + number)
    before = warehouse.rows
    exit_code, _ = warehouse.drain(kill_at=1 + lines * number // KILLS)
    assert exit_code == -signal.SIGKILL
    assert warehouse.rows == before
    assert [place for _, place in warehouse.places if len(place) > 1] == []
    assert warehouse.drain()[0] == 0
    assert warehouse.rows == before
    own = [(month, [f"performance_data_{month}"]) for month, _ in warehouse.places]
    assert (warehouse.places, warehouse.left) == (own, 0)
