"""`python -m tests.drills`: make every drill with its whole waits, and write what was measured."""

import sys
from pathlib import Path

import pytest

from tests.drills import table
from tests.drills.drilling import FAULTS, WHOLE_WAITS
from tests.drills.rows import Fault, Measured


class Measuring:
    """Asks for whole waits, and keeps what the drills measured."""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[WHOLE_WAITS] = True
        self.config = config

    @property
    def found(self) -> list[tuple[Fault, Measured]]:
        return list(self.config.stash.get(FAULTS, {}).values())


def main() -> int:
    """Drill; the page is written only if each drill ended well."""
    measuring = Measuring()
    folder = Path(__file__).parent
    code = pytest.main(
        ["-n0", "-q", str(folder), "--deselect", "tests/drills/test_table.py"], [measuring]
    )
    if code == pytest.ExitCode.OK:
        table.write(measuring.found)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
