"""A page: its verdict, and that Markdown, HTML and JSON say the same, whatever is in its cells."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from pipeline_platform.operations.reports.pages import (
    Page,
    Plot,
    Section,
    html,
    markdown,
    short,
)

NOW = datetime(2026, 3, 1, 9, 10, tzinfo=UTC)
HOSTILE = '<script>alert(1)</script> | [x](http://evil) "&'


def section(title: str = "A section", rows: object = (), **given: object) -> Section:
    return Section(title, rows, given.pop("sentence", "A sentence."), **given)


def page(*sections: Section) -> Page:
    return Page("weather", "morning_check", "Morning check", NOW, sections)


class Tags(HTMLParser):
    """Collects the tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attributes if name in {"src", "href"}]


@pytest.mark.parametrize(
    ("sections", "verdict"),
    [
        ([section(kind="failed"), section(kind="late")], "All is well: 0 failed, 0 late."),
        ([section(rows=[{"what": "x"}], kind="failed")], "Not well: 1 failed."),
        (
            [section(kind="late"), section(rows=[{"a": 1}] * 3, kind="waits")],
            "All is well: 0 late, 3 waiting for a person.",
        ),
        ([section(kind="broken")], "Not well: 1 sections not answered."),
        ([section()], "Nothing to decide."),
    ],
)
def test_the_verdict_says_whether_somebody_must_act(sections: list[Section], verdict: str) -> None:
    assert page(*sections).verdict == verdict


def test_what_waits_for_a_person_is_no_fault() -> None:
    assert page(section(rows=[{"what": "x"}], kind="waits")).is_fine


def test_a_page_is_the_same_after_it_was_kept() -> None:
    rows = [{"at": NOW, "amount": Decimal("1.50"), "share": 0.123456789, "none": None, "on": True}]
    plot = Plot("Rows", [("2026-03-01", 1.0)], 2.0, "bars")
    made = page(section(rows=rows, plots=[plot], kind="late"))
    assert Page.from_json(made.to_json()) == Page.from_json(
        Page.from_json(made.to_json()).to_json()
    )
    assert html(Page.from_json(made.to_json())) == html(made)


def test_only_a_hundred_rows_are_kept_and_all_are_counted() -> None:
    made = section(rows=[{"number": number} for number in range(150)])
    assert (len(made.rows), made.count) == (100, 150)
    assert "100 of 150 are shown" in html(page(made))


def test_markdown_is_a_table_of_the_rows() -> None:
    told = markdown(page(section(rows=[{"what": "a|b", "command": "run it", "at": None}])))
    assert told.splitlines() == [
        "# Morning check: weather, 2026-03-01",
        *("", "**Nothing to decide.**", "", "## A section", "", "A sentence.", ""),
        *("| what | command | at |", "| --- | --- | --- |", "| a/b | `run it` | - |"),
    ]


def test_what_vendors_wrote_is_no_markup_in_markdown() -> None:
    told = markdown(page(section(rows=[{"file": HOSTILE}], sentence=HOSTILE)))
    assert re.search(r"<script|(?<!\\)\[x\]|\| \[", told) is None


def test_what_vendors_wrote_is_no_markup_in_html() -> None:
    plot = Plot(HOSTILE, [("2026-03-01", 1.0)])
    told = html(page(section(HOSTILE, rows=[{HOSTILE: HOSTILE}], sentence=HOSTILE, plots=[plot])))
    assert "script" not in Tags(told).tags


def test_html_needs_nothing_from_elsewhere() -> None:
    plot = Plot("Rows", [("2026-03-01", 1.0), ("2026-03-02", 2.0)])
    found = Tags(html(page(section(rows=[{"command": "run it"}], plots=[plot]))))
    assert (found.links, {"script", "link", "img", "iframe"} & set(found.tags)) == ([], set())


def test_html_shows_commands_to_be_copied() -> None:
    told = html(page(section(rows=[{"what": "x", "command": "pipeline-platform doctor"}])))
    assert "<code>pipeline-platform doctor</code>" in told


def test_a_plot_without_points_is_left_out() -> None:
    assert section(plots=[Plot("Rows", [])]).plots == ()


def test_the_short_form_has_the_questions_only() -> None:
    made = page(section("Failed", kind="failed"), section("Files"), section("Ran", kind="ran"))
    assert [one.title for one in short(made).sections] == ["Failed", "Ran"]
