"""`quarantine`: list, show, replay and discard from the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_platform.advisory_performance.ingestion import ingest_arrivals
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import PIPELINE
from pipeline_platform.advisory_performance.vendors import VENDORS_FOLDER, load_mappings
from tests.integration.commands.conftest import Processed, Shell

HEADER = (
    "account_id,as_of_date,market_value,external_flow,flow_timing,reported_return,"
    "reported_period,currency\n"
)
ROWS = "A-1,2026-01-05,100.00,,,,,USD\nA-1,2026/01/06,101.00,,,,,USD\nA-1,never,1.00,,,,,USD\n"


def hold(shell: Shell, folder: Path) -> Shell:
    """Have a platform hold two records and one file in quarantine."""
    for name, text in (("standard_a.csv", HEADER + ROWS), ("std_b.csv", HEADER + ROWS + "\n")):
        (folder / name).write_text(text)
        shell("landing", "put", str(folder / name))
    shell("landing", "ingest")
    return shell


@pytest.fixture
def held(shell: Shell, tmp_path: Path) -> Shell:
    """A platform that holds two records and one file in quarantine."""
    return hold(shell, tmp_path)


@pytest.fixture
def mended(tmp_path: Path) -> str:
    """A folder of mappings that read what is held, but for the record without a day."""
    folder = tmp_path / "mappings"
    folder.mkdir()
    for path in VENDORS_FOLDER.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if path.name == "standard.yaml":
            text = text.replace("'standard(?:", "'(?:standard|std)(?:")
            text = text.replace("['%Y-%m-%d']", "['%Y-%m-%d', '%Y/%m/%d']")
        (folder / path.name).write_text(text, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def listed(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The same, for tests that only read."""
    folder = tmp_path_factory.mktemp("held")
    return hold(Shell(folder / "home", new_database()), folder)


def test_list_shows_records_and_files(listed: Shell) -> None:
    found = listed.json("quarantine", "list")
    assert sorted(one["kind"] for one in found) == ["file", "record", "record"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--kind", "files"], 1),
        (["--rule", "invalid_date"], 2),
        (["--vendor", "standard"], 2),
        (["--vendor", "harbor"], 0),
        (["--month", "2026-01"], 0),
        (["--state", "REPLAYED"], 0),
        (["--state", "ALL", "--limit", "2"], 2),
    ],
)
def test_list_filters(listed: Shell, options: list[str], count: int) -> None:
    assert len(listed.json("quarantine", "list", *options)) == count


def test_show_gives_the_record_as_delivered(listed: Shell) -> None:
    number = listed.json("quarantine", "list", "--kind", "rows")[-1]["id"]
    assert "A-1" in listed.json("quarantine", "show", number)["record"]


def test_show_finds_a_file_by_the_beginning_of_its_hash(listed: Shell) -> None:
    identity = listed.json("quarantine", "list", "--kind", "files")[0]["id"]
    assert listed.json("quarantine", "show", identity)["file"] == "std_b.csv"


@pytest.mark.parametrize("identity", ["999999", "feed", "[bold]"])
def test_showing_what_is_not_there_is_wrong_use(listed: Shell, identity: str) -> None:
    assert listed("quarantine", "show", identity).exit_code == 2


def test_a_dry_run_with_mended_mappings_says_what_would_pass(listed: Shell, mended: str) -> None:
    found = listed.json("quarantine", "replay", "--dry-run", "--mappings", mended)
    assert (found["records that pass now"], found["files that can be read now"]) == (1, 1)


def test_a_dry_run_leaves_what_is_held(held: Shell, mended: str) -> None:
    held("quarantine", "replay", "--dry-run", "--mappings", mended)
    assert len(held.json("quarantine", "list")) == 3


def test_a_dry_run_ends_with_1_while_something_fails(listed: Shell, mended: str) -> None:
    result = listed("quarantine", "replay", "--dry-run", "--mappings", mended)
    assert (result.exit_code, "What fails" in result.stdout) == (1, True)


def test_trying_mappings_for_real_is_wrong_use(listed: Shell, mended: str) -> None:
    assert listed("quarantine", "replay", "--mappings", mended).exit_code == 2


def test_a_replay_that_can_change_nothing_changes_nothing(held: Shell) -> None:
    found = held.json("quarantine", "replay")
    assert (found["files read again"], "replayed" in found) == ([], False)


@pytest.fixture
def mendable(shell: Shell, tmp_path: Path) -> Shell:
    """A platform whose mappings were mended after they had refused a file and a record."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in VENDORS_FOLDER.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("'standard(?:[_-].*)?", "'standard_a")
        text = text.replace("['%Y-%m-%d']", "['%Y/%m/%d']")
        text = text.replace("example: standard_2026-10-01.csv", "example: standard_a.csv")
        (folder / path.name).write_text(text, encoding="utf-8")
    with shell.services() as services:
        zone = services.landing(PIPELINE)
        zone.put("standard_a.csv", (HEADER + ROWS).encode())
        zone.put("standard_b.csv", (HEADER + ROWS.replace("A-1", "B-1")).encode())
        list(ingest_arrivals(RunContext(services, "broken", mappings=load_mappings(folder))))
    return shell


def test_a_replay_publishes_what_passes_now(mendable: Shell) -> None:
    found = mendable.json("quarantine", "replay")
    assert {(one["file"], one["outcome"]) for one in found["replayed"]} == {
        ("standard_a.csv", "published"),
        ("standard_b.csv", "published"),
    }


def test_a_replay_requests_the_months_it_names(mendable: Shell) -> None:
    found = mendable.json("quarantine", "replay")
    waiting = [one["partition"] for one in mendable.json("partitions", "list")]
    assert waiting == found["months requested"]


def test_a_replay_says_who_processes_the_months(mendable: Shell) -> None:
    result = mendable("quarantine", "replay")
    assert "pipeline-platform partitions process" in result.stdout


def test_discarded_records_and_files_are_held_no_more(held: Shell) -> None:
    identities = [one["id"] for one in held.json("quarantine", "list")]
    held("quarantine", "discard", *identities, "--reason", "vendor withdrew them")
    assert held.json("quarantine", "list") == []


def test_discarding_all_or_nothing(held: Shell) -> None:
    number = held.json("quarantine", "list", "--kind", "rows")[0]["id"]
    held("quarantine", "discard", number, "feed", "--reason", "one of them is unknown")
    assert len(held.json("quarantine", "list")) == 3


def test_discarding_needs_a_reason(held: Shell) -> None:
    number = held.json("quarantine", "list", "--kind", "rows")[0]["id"]
    assert held("quarantine", "discard", number, "--reason", " ").exit_code == 2


def test_why_a_file_was_discarded_is_kept(held: Shell) -> None:
    identity = held.json("quarantine", "list", "--kind", "files")[0]["id"]
    held("quarantine", "discard", identity, "--reason", "sent by mistake")
    kinds = {one["issue_type"] for one in held.json("reports", "issues", "--by", "type")}
    assert "discarded" in kinds


def test_nothing_held_is_nothing_to_replay(shell: Shell) -> None:
    assert shell("quarantine", "replay", "--dry-run").exit_code == 0


def test_sample_faults_are_held_by_month_and_rule(processed: Processed) -> None:
    listed = processed.shell.json("quarantine", "list", "--kind", "rows", "--limit", "1")
    of_rule = processed.shell.json("quarantine", "list", "--rule", listed[0]["rule"])
    assert listed[0]["id"] in {one["id"] for one in of_rule}
