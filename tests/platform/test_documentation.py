"""README and docs name only what exists, and say of the runbook what the runbook says."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer
import yaml
from typer.core import TyperGroup

from pipeline_platform.advisory_performance.hypothesis import CAUSES, UNEXPLAINED
from pipeline_platform.advisory_performance.reconciliation import STATUSES
from pipeline_platform.advisory_performance.run_context import load_runbook
from pipeline_platform.advisory_performance.tables import DELIVERED_FIELDS, TABLES
from pipeline_platform.advisory_performance.vendor_check import check_file
from pipeline_platform.advisory_performance.vendor_mapping import VendorMapping
from pipeline_platform.advisory_performance.vendors import load_mapping
from pipeline_platform.cli import app
from pipeline_platform.definitions import build_defs
from pipeline_platform.failures import InvalidRunbookError
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Runbook
from pipeline_platform.runbook_page import (
    CHECKS_PAGE,
    block_names,
    generated_blocks,
    updated_on,
    with_blocks,
)
from pipeline_platform.settings import PREFIX, Settings
from pipeline_platform.web_events import run_context as web_events
from pipeline_platform.web_events.run_context import shipped_sources
from pipeline_platform.web_events.tables import TABLES as WEB_TABLES

ROOT = Path(__file__).parents[2]
TODAY = utc_now().date()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PIPELINE_PAGES = {
    ROOT / "docs" / "advisory_performance.md": load_runbook,
    ROOT / "docs" / "web_events.md": web_events.load_runbook,
}
OF_EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
FENCED = re.compile(r"^```[^\n]*\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`(?P<text>[^`\n]+)`(?!`)")
HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$", re.MULTILINE)
PATH = re.compile(r"(?:pipeline_platform|dbt_project|tests|benchmarks|scripts|docs)/[\w./-]*")
PROGRAM = "pipeline-platform"


def pages_of(text: str) -> str:
    """Return a page without fenced blocks, in which nothing is a link or a heading."""
    return FENCED.sub("", text)


def code_of(text: str) -> Iterator[str]:
    """Yield each code span, and each line of fenced blocks, of a page."""
    for block in FENCED.finditer(text):
        yield from block["text"].splitlines()
    for span in SPAN.finditer(pages_of(text)):
        yield span["text"]


def anchors_of(text: str) -> set[str]:
    """Return the anchors that a page's headings get where it is shown."""
    titles = (found["title"].replace("`", "").lower() for found in HEADING.finditer(pages_of(text)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def broken_link(page: Path, target: str) -> str | None:
    """Say what a relative link lacks, or None if file and anchor exist."""
    place, _, anchor = target.partition("#")
    file = page if not place else (page.parent / place).resolve()
    if not file.exists():
        return f"{page.name}: {target}: there is no such file"
    if anchor and anchor not in anchors_of(file.read_text("utf-8")):
        return f"{page.name}: {target}: there is no such heading"
    return None


@cache
def command_tree() -> TyperGroup:
    """Return the command line's groups and commands."""
    tree = typer.main.get_command(app)
    assert isinstance(tree, TyperGroup)
    return tree


def named_commands(text: str) -> Iterator[list[str]]:
    """Yield the words after the program's name, and those of spans that begin with a group."""
    for code in code_of(text):
        yield from (
            found.split("#")[0].split()
            for found in re.findall(rf"(?<![\w./-]){PROGRAM} +([^|&;`]+)", code)
        )
        words = code.split()
        group = command_tree().commands.get(words[0]) if words else None
        if isinstance(group, TyperGroup) and len(words) > 1:
            yield words


def unknown_part(words: list[str]) -> str | None:
    """Return the first word that is no command, or no option of it; None if all are known."""
    command: Any = command_tree()
    rest = list(words)
    while isinstance(command, TyperGroup) and rest:
        found = command.commands.get(rest[0])
        if found is None:
            return rest[0]
        command, rest = found, rest[1:]
    known = {"--help"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    options = [word.split("=")[0].rstrip(".,") for word in rest if word.startswith("--")]
    return next((option for option in options if option not in known), None)


def example(page: Path, name: str) -> str:
    """Return the fenced block that follows the marker `<!-- example: name -->`."""
    after = page.read_text("utf-8").partition(f"<!-- example: {name} -->")[2]
    found = FENCED.search(after)
    assert found is not None, f"{page.name} has no example {name!r}"
    return found["text"]


@OF_EACH_PAGE
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    targets = [found["target"] for found in LINK.finditer(pages_of(page.read_text("utf-8")))]
    relative = [target for target in targets if "://" not in target]
    assert [broken for one in relative if (broken := broken_link(page, one))] == []


@OF_EACH_PAGE
def test_every_named_command_and_option_exists(page: Path) -> None:
    named = list(named_commands(page.read_text("utf-8")))
    assert [" ".join(words) for words in named if unknown_part(words)] == []


@OF_EACH_PAGE
def test_every_named_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z.]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    code = "\n".join(code_of(page.read_text("utf-8")))
    assert set(re.findall(r"\bmake ([a-z]+(?:\.[a-z]+)*)", code)) <= targets


@OF_EACH_PAGE
def test_every_named_file_of_the_repository_exists(page: Path) -> None:
    spans = (span.split()[0] for span in code_of(page.read_text("utf-8")) if span.strip())
    named = [span for span in spans if PATH.fullmatch(span)]
    assert [path for path in named if not (ROOT / path).exists()] == []


@OF_EACH_PAGE
def test_every_named_setting_exists(page: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]\b", page.read_text("utf-8")))
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


@OF_EACH_PAGE
def test_no_page_names_a_registry_or_a_tool_that_installs(page: Path) -> None:
    parts = (
        ("py", "pi"),
        ("python", "hosted"),
        ("npm", "js"),
        ("ana", "conda"),
        ("crates", r"\.io"),
    )
    hosts = "|".join("".join(part) for part in parts)
    forbidden = re.compile(rf"{hosts}|\b(?:pip|uv|poetry|conda|npm)\b", re.IGNORECASE)
    assert forbidden.findall(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        (["partitions", "procces"], "procces"),
        (["partitions", "process", "--since", "2026-10"], "--since"),
        (["weather"], "weather"),
        (["partitions", "process", "--pipeline", "advisory", "--from", "2026-10"], None),
    ],
)
def test_a_command_or_option_that_does_not_exist_is_found(
    words: list[str], unknown: str | None
) -> None:
    assert unknown_part(words) == unknown


@pytest.mark.parametrize(
    ("target", "is_broken"),
    [
        ("operating.md", False),
        ("operating.md#backfills", False),
        ("operating.md#weather", True),
        ("weather.md", True),
        ("#vendors", False),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target: str, is_broken: bool) -> None:
    page = ROOT / "docs" / "advisory_performance.md"
    assert (broken_link(page, target) is not None) == is_broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for found in LINK.finditer(page.read_text("utf-8")):
            target = (page.parent / found["target"].partition("#")[0]).resolve()
            inside = sorted(target.glob("*.md")) if target.is_dir() else [target]
            waiting += [one for one in inside if one.suffix == ".md" and one not in reached]
    assert set(PAGES) - reached == set()


def test_the_example_of_settings_lists_exactly_the_settings() -> None:
    listed = re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(PREFIX + name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("page", PIPELINE_PAGES, ids=lambda page: page.name)
def test_the_generated_blocks_of_a_page_say_what_the_runbook_says(page: Path) -> None:
    text = page.read_text("utf-8")
    updated = updated_on(text)
    assert updated is not None
    assert text == with_blocks(text, generated_blocks(PIPELINE_PAGES[page](), updated))


@pytest.mark.parametrize("page", PIPELINE_PAGES, ids=lambda page: page.name)
def test_a_page_holds_every_generated_block_once(page: Path) -> None:
    blocks = generated_blocks(PIPELINE_PAGES[page](), TODAY)
    assert sorted(block_names(page.read_text("utf-8"))) == sorted(blocks)


def test_a_changed_limit_makes_the_page_stale() -> None:
    runbook = load_runbook()
    rate = runbook.thresholds["pipeline_success_rate"]
    band = rate.bands[0].model_copy(update={"limit": 98.5})
    changed = {**runbook.thresholds, rate.name: rate.model_copy(update={"bands": [band]})}
    stale = generated_blocks(runbook.model_copy(update={"thresholds": changed}), TODAY)
    assert stale["thresholds"] != generated_blocks(runbook, TODAY)["thresholds"]


def test_a_block_that_nothing_generates_is_named() -> None:
    page = "<!-- generated: weather -->\n<!-- end of generated: weather -->"
    with pytest.raises(InvalidRunbookError, match="weather"):
        with_blocks(page, generated_blocks(load_runbook(), TODAY))


def test_the_page_names_every_table() -> None:
    page = (ROOT / "docs" / "advisory_performance.md").read_text("utf-8")
    names = [f"`{table.layer}.{table.name}`" for table in TABLES]
    assert [name for name in names if name not in page] == []


def test_the_page_names_every_status_cause_and_delivered_field() -> None:
    page = (ROOT / "docs" / "advisory_performance.md").read_text("utf-8")
    words = [*STATUSES, *CAUSES, UNEXPLAINED, *DELIVERED_FIELDS]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_the_page_names_every_key_of_a_mapping() -> None:
    page = (ROOT / "docs" / "advisory_performance.md").read_text("utf-8")
    keys = set(VendorMapping.model_fields) - {"version"}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_the_worked_example_of_a_mapping_reads_its_delivery(tmp_path: Path) -> None:
    page = ROOT / "docs" / "advisory_performance.md"
    written = tmp_path / "lakeside.yaml"
    written.write_text(example(page, "mapping"), "utf-8")
    mapping = load_mapping(written)
    delivery = tmp_path / mapping.file_name.example
    delivery.write_text(example(page, "delivery"), "utf-8")
    assert check_file(delivery, {mapping.vendor: mapping}, utc_now().date()).is_good


def test_the_example_of_another_compute_size_is_a_run_configuration(tmp_path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(example(ROOT / "docs" / "operating.md", "compute size"))
    definitions = build_defs(Settings(home=tmp_path, environment="test"))
    workflow = definitions.resolve_job_def("advisory_performance_etl_workflow")
    validated = dg.validate_run_config(workflow, config)
    assert validated["ops"].keys() >= config["ops"].keys()


@pytest.mark.parametrize("page", PIPELINE_PAGES, ids=lambda page: page.name)
def test_every_job_and_sensor_is_named_on_its_page(page: Path, tmp_path: Path) -> None:
    definitions = build_defs(Settings(home=tmp_path, environment="test"))
    jobs = [*(definitions.jobs or []), *(definitions.sensors or [])]
    names = [one.name for one in jobs if one.name.startswith(page.stem)]
    assert [name for name in names if f"`{name}`" not in page.read_text("utf-8")] == []


@pytest.mark.parametrize(
    "runbook_of", PIPELINE_PAGES.values(), ids=[page.stem for page in PIPELINE_PAGES]
)
def test_every_threshold_has_a_row_where_its_check_leads_to(
    runbook_of: Callable[[], Runbook],
) -> None:
    page, _, anchor = CHECKS_PAGE.partition("#")
    text = (ROOT / page).read_text("utf-8")
    assert anchor in anchors_of(text)
    assert [name for name in runbook_of().thresholds if f"`{name}`" not in text] == []


def test_the_page_of_web_events_names_every_source_and_table() -> None:
    text = (ROOT / "docs" / "web_events.md").read_text("utf-8")
    names = [*shipped_sources(), *(table.name for table in WEB_TABLES)]
    assert [name for name in names if name not in text] == []


def test_every_job_of_the_platform_itself_is_named_in_operating(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    jobs = build_defs(Settings(home=tmp_path, environment="test")).jobs or []
    names = [job.name for job in jobs if job.name.startswith("operations")]
    assert [name for name in names if f"`{name}`" not in page] == []
