"""200 kills at random moments between landing zone and PostgreSQL, and what is left after them.

    python -m benchmarks.kills [KILLS]

Bar: after each round the tables, the register and the folders hold what an undisturbed run leaves,
no record is lost or there twice, and the conservation ledger balances. A round is a landing zone
of its own, killed again and again at moments drawn evenly over the time that the rest of its work
takes, then finished.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.database import database_url
from tests.assets.content import differences
from tests.faults.killing import KillableRuns, delivered, end_state, leaks, left_to_do

KILLS = 200
KILLS_PER_ROUND = 10


def new_database(server: str, name: str) -> str:
    """Make an empty database on the benchmark's server and return its URL."""
    settings = Settings(home=Path(tempfile.gettempdir()), database_url=SecretStr(server))
    return database_url(settings, name)


def measure(kills: int) -> dict[str, object]:
    """Kill runs until `kills` of them really died, and return what was counted and found."""
    with tempfile.TemporaryDirectory() as folder, KillableRuns() as runs:
        server = Settings(home=Path(folder) / "server")
        url = embedded.start(server, is_durable=False)
        try:
            return _rounds(runs, url, Path(folder), kills)
        finally:
            embedded.stop(server)


def _rounds(runs: KillableRuns, server: str, folder: Path, kills: int) -> dict[str, object]:
    began = time.perf_counter()
    for name in ("cold", "quiet"):  # the second one is timed as the killed runs are
        quiet = delivered(folder / name, new_database(server, name))
        ingest = runs.run(quiet, "ingest").seconds
        months = runs.run(quiet, "months").seconds
    expected = end_state(quiet)
    killed, seed, wrong = 0, 0, []
    while killed < kills:
        seed += 1
        settings = delivered(folder / f"round_{seed}", new_database(server, f"round_{seed}"))
        moments = random.Random(seed)
        for _ in range(KILLS_PER_ROUND):
            if killed == kills or not left_to_do(settings, "everything"):
                break
            rest = months + (ingest if left_to_do(settings, "ingest") else 0)
            moment = moments.uniform(0, rest)
            killed += runs.run(settings, "everything", kill_after=moment).was_killed
        runs.finish(settings)
        found = differences(expected, end_state(settings))
        if lost := leaks(settings):
            found["conservation"] = str(lost[:3])
        wrong += [(seed, found)] if found else []
        print(
            f"round {seed} (seed {seed}): {killed} kills so far, {found or 'as undisturbed'}",
            flush=True,
        )
    return {
        "kills": killed,
        "rounds": seed,
        "seconds_of_an_undisturbed_run": round(ingest + months, 2),
        "seconds": round(time.perf_counter() - began),
        "rounds_that_differ": wrong,
    }


def main() -> None:
    """Print the result; the exit code is 1 if any round differs."""
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else KILLS)
    for name, value in found.items():
        print(f"{name}: {value}")
    if found["rounds_that_differ"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
