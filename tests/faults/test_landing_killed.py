"""SIGKILL at random points of claim, archive and quarantine, then recover: as if undisturbed.

A child process works off a landing zone. It is killed at a random line of the landing package, or
after a random time wherever it then is (in a system call too), started again and killed again;
the last start runs to its end. Then archive and quarantine must hold what a run that nobody
disturbed leaves there: nothing lost, nothing twice, nothing left between.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline_platform.landing
from pipeline_platform.landing.objects import ObjectStore
from pipeline_platform.landing.zone import ClaimedFile, LandingZone, UnsafeNameError
from pipeline_platform.settings import Settings
from tests.faults.lines import counted_lines
from tests.integration.landing.local_s3 import (
    MADE_UP_CREDENTIALS,
    running_server,
    s3_client,
    settings_in_s3,
)

PACKAGE = str(Path(pipeline_platform.landing.__file__).parent)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pipeline_platform.landing.zone"])

DELIVERIES = {
    "daily.csv": b"account_id,as_of_date\nA1,2026-10-01\n" * 2000,
    "same content.csv": b"account_id,as_of_date\nA1,2026-10-01\n" * 2000,
    "vendor_a/daily.csv": b"another vendor's file of the same name",
    "vendor_b/empty.csv": b"",
    "über 'quoted'.csv": b"unusual",
    "tab\there.csv": b"hostile",
    "x.reason.txt": b"pretends to be a reason",
}


MOVES = frozenset({"take", "_release", "_publish"})
"""The functions whose lines change what lies where."""


def work_off(
    settings: Settings,
    kill_at_line: int | None,
    lines: Any = None,
    functions: frozenset[str] = frozenset(),
) -> None:
    """Recover, then claim what waits; archive or quarantine each file, by its content.

    Lines are counted in the whole landing package, or in the named functions only.
    """
    if settings.s3_endpoint:  # the fork server may be older than the S3 server
        os.environ.update(MADE_UP_CREDENTIALS)
    zone = LandingZone(settings, "advisory")
    if kill_at_line is None and lines is None:
        settle_all(zone)
        return
    with counted_lines(PACKAGE, kill_at=kill_at_line, functions=functions) as counted:
        settle_all(zone)
    if lines is not None:
        lines.value = counted.count


def settle_all(zone: LandingZone) -> None:
    for file in zone.recover():
        settle(zone, file)
    for waiting in zone.list("incoming"):
        try:
            settle(zone, zone.claim(waiting.key))
        except UnsafeNameError as error:
            zone.quarantine_unclaimable(waiting.key, str(error))


def settle(zone: LandingZone, file: ClaimedFile) -> None:
    if int(file.sha256[0], 16) % 2:
        zone.archive(file)
    else:
        zone.quarantine(file, "It is even.")


def run_child(settings: Settings, kill_at_line: int | None = None) -> int | None:
    child = CONTEXT.Process(target=work_off, args=(settings, kill_at_line))
    child.start()
    child.join(60)
    return child.exitcode


def run_child_killed_after(settings: Settings, seconds: float) -> None:
    child = CONTEXT.Process(target=work_off, args=(settings, None))
    child.start()
    time.sleep(seconds)
    child.kill()
    child.join(60)


def lines_of_an_undisturbed_run(settings: Settings) -> int:
    lines = CONTEXT.Value("i", 0)
    child = CONTEXT.Process(target=work_off, args=(settings, None, lines))
    child.start()
    child.join(60)
    return int(lines.value)


def local_settings(home: Path) -> Settings:
    settings = Settings(home=home)
    incoming = home / "landing" / "advisory" / "incoming"
    for key, content in DELIVERIES.items():
        (incoming / key).parent.mkdir(parents=True, exist_ok=True)
        (incoming / key).write_bytes(content)
    (incoming / "link.csv").symlink_to("daily.csv")
    return settings


def s3_settings(endpoint: str, home: Path) -> Settings:
    settings = settings_in_s3(endpoint, home)
    bucket = settings.raw_location.split("/")[2]
    few = {key: DELIVERIES[key] for key in ("daily.csv", "same content.csv", "x.reason.txt")}
    for key, content in {**few, "../up.csv": b"no path", "odd.csv": b"odd"}.items():
        s3_client(endpoint).put_object(
            Bucket=bucket, Key=f"raw/advisory/incoming/{key}", Body=content
        )
    return settings


def end_state(settings: Settings) -> dict[str, object]:
    """Return all content by folder and key, the reasons too, and what is stranded between."""
    zone = LandingZone(settings, "advisory")
    raw = ObjectStore.at(f"{settings.raw_location}/advisory", settings)
    archive = ObjectStore.at(f"{settings.archive_location}/advisory", settings)
    return {
        "archive": {found.key: archive.read(found.key) for found in archive.list()},
        "quarantine": {
            found.key: raw.read(found.key).replace(settings.raw_location.encode(), b"<raw>")
            for found in raw.list("quarantine")
        },
        "incoming": [found.key for found in zone.list("incoming")],
        "processing": [found.key for found in zone.list("processing")],
        "released": list(raw.leftovers()),
    }


@pytest.fixture(scope="module")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, object]]:
    """Return how many lines an undisturbed local run has, and what it leaves."""
    settings = local_settings(tmp_path_factory.mktemp("undisturbed"))
    return lines_of_an_undisturbed_run(settings), end_state(settings)


@pytest.fixture(scope="module")
def undisturbed_in_s3(
    s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, object]]:
    settings = s3_settings(s3_endpoint, tmp_path_factory.mktemp("undisturbed"))
    return lines_of_an_undisturbed_run(settings), end_state(settings)


def test_an_undisturbed_run_settles_every_delivery(
    undisturbed: tuple[int, dict[str, object]],
) -> None:
    _, state = undisturbed
    settled = [
        key
        for folder in ("archive", "quarantine")
        for key in state[folder]  # type: ignore[attr-defined]
        if not key.endswith(".reason.txt")
    ]
    assert len(settled) == len(DELIVERIES) + 1


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_a_random_line_then_restarted_a_local_zone_ends_the_same(
    seed: int, undisturbed: tuple[int, dict[str, object]], tmp_path: Path
) -> None:
    lines, expected = undisturbed
    settings = local_settings(tmp_path)
    chance = random.Random(seed)
    for share in (1, 2, 5):  # what is left to do shrinks with every start
        run_child(settings, kill_at_line=chance.randint(1, lines // share))
    run_child(settings)
    assert end_state(settings) == expected


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_time_then_restarted_a_local_zone_ends_the_same(
    seed: int, undisturbed: tuple[int, dict[str, object]], tmp_path: Path
) -> None:
    _, expected = undisturbed
    settings = local_settings(tmp_path)
    chance = random.Random(seed)
    for _ in range(4):
        run_child_killed_after(settings, chance.uniform(0.01, 0.12))
    run_child(settings)
    assert end_state(settings) == expected


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_line_then_restarted_a_zone_in_s3_ends_the_same(
    seed: int, s3_endpoint: str, undisturbed_in_s3: tuple[int, dict[str, object]], tmp_path: Path
) -> None:
    lines, expected = undisturbed_in_s3
    settings = s3_settings(s3_endpoint, tmp_path)
    chance = random.Random(seed)
    for share in (1, 2):
        run_child(settings, kill_at_line=chance.randint(1, lines // share))
    run_child(settings)
    assert end_state(settings) == expected


@pytest.mark.slow
def test_killed_at_every_other_line_of_a_move_a_local_zone_ends_the_same(tmp_path: Path) -> None:
    def one_file(home: Path) -> Settings:
        settings = Settings(home=home)
        LandingZone(settings, "advisory").put("daily.csv", DELIVERIES["daily.csv"])
        return settings

    calm, lines = one_file(tmp_path / "calm"), CONTEXT.Value("i", 0)
    child = CONTEXT.Process(target=work_off, args=(calm, None, lines, MOVES))
    child.start()
    child.join(60)
    expected, wrong = end_state(calm), []
    for line in range(1, lines.value + 1, 2):
        settings = one_file(tmp_path / str(line))
        child = CONTEXT.Process(target=work_off, args=(settings, line, None, MOVES))
        child.start()
        child.join(60)
        work_off(settings, None)
        if child.exitcode != -signal.SIGKILL or end_state(settings) != expected:
            wrong.append(line)
    assert (wrong, lines.value > 20) == ([], True)


def test_a_killed_child_really_dies_of_the_kill(tmp_path: Path) -> None:
    assert run_child(local_settings(tmp_path), kill_at_line=50) == -signal.SIGKILL
