"""docs/operating.md shows each drill as it is made here; times are as they were measured last."""

from tests.drills import table, test_database, test_files, test_lake, test_runs
from tests.drills.rows import Fault

MODULES = (test_database, test_files, test_lake, test_runs)


def faults() -> list[Fault]:
    return [
        one
        for module in MODULES
        for value in vars(module).values()
        for one in (value.values() if isinstance(value, dict) else [value])
        if isinstance(one, Fault)
    ]


def test_the_page_shows_every_drill() -> None:
    wanted = [table.without_times(table.cells(one)) for one in faults()]
    assert sorted(map(table.without_times, table.shown())) == sorted(wanted)


def test_every_drill_was_measured() -> None:
    times = [[row[place] for place in (3, 6)] for row in table.shown()]
    assert [all(" s" in cell for cell in row) for row in times] == [True] * len(times)
