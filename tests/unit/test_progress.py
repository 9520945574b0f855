"""Long loops tell how far they are to whoever listens; a terminal shows them as bars."""

import io
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from rich.console import Console

from pipeline_platform.commands import output
from pipeline_platform.commands.job_runs import execute_quietly, step_progress
from pipeline_platform.progress import listening, tracked


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def begin(self, what: str, total: int | None) -> int:
        self.told.append(("begin", what, total))
        return 7

    def advance(self, number: int, count: int = 1) -> None:
        self.told.append(("advance", number, count))

    def end(self, number: int) -> None:
        self.told.append(("end", number))


def test_a_loop_tells_of_its_beginning_each_item_and_its_end() -> None:
    heard = Heard()
    with listening(heard):
        assert list(tracked(["a", "b"], "files")) == ["a", "b"]
    assert heard.told == [
        ("begin", "files", 2),
        ("advance", 7, 1),
        ("advance", 7, 1),
        ("end", 7),
    ]


def test_a_loop_of_unknown_length_says_so() -> None:
    heard = Heard()
    with listening(heard):
        list(tracked(iter([1]), "files"))
    assert heard.told[0] == ("begin", "files", None)


def test_a_loop_that_breaks_ends_nevertheless() -> None:
    heard = Heard()

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with listening(heard), pytest.raises(ValueError, match="broken"):
        list(tracked(broken(), "files"))
    assert heard.told[-1] == ("end", 7)


def test_without_a_listener_a_loop_is_what_it_was() -> None:
    assert list(tracked([1, 2], "files")) == [1, 2]


def shown(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, as_json: bool = False) -> str:
    """Return what a command writes to stderr while it goes over three files."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=120)
    monkeypatch.setattr(output, "errors", console)

    def slowly() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.12)  # bars are drawn ten times a second
            yield number

    with output.showing_progress(as_json=as_json):
        list(tracked(slowly(), "files copied", 3))
    return written.getvalue()


def test_a_terminal_shows_count_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    written = shown(monkeypatch, is_terminal=True)
    assert "files copied" in written
    assert "/3" in written
    assert "/s" in written


@pytest.mark.parametrize("how", [{"is_terminal": False}, {"is_terminal": True, "as_json": True}])
def test_nothing_is_shown_with_json_or_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, how: dict[str, bool]
) -> None:
    assert "files copied" not in shown(monkeypatch, **how)


@dg.op
def first_step() -> int:
    return 1


@dg.op
def second_step(number: int) -> None:
    assert number == 1


@dg.job
def two_steps() -> None:
    second_step(first_step())


def test_a_run_of_dagster_tells_of_its_steps() -> None:
    heard = Heard()
    with (
        dg.DagsterInstance.ephemeral() as instance,
        listening(heard),
        step_progress(instance, two_steps) as run_id,
    ):
        execute_quietly(instance, two_steps, run_id=run_id)
    assert heard.told == [
        ("begin", "steps", 2),
        ("advance", 7, 1),
        ("advance", 7, 1),
        ("end", 7),
    ]
