"""Pictures of figures: what they show, and that they are pictures at all."""

import base64
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from pipeline_platform import plots

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def drawn(values: list[float], limit: float | None, title: str = "Rows") -> ElementTree.Element:
    history = [(FIRST + timedelta(days=day), value) for day, value in enumerate(values)]
    return ElementTree.fromstring(plots.trend(title, history, limit))


def test_every_value_is_a_point_and_greater_ones_are_higher() -> None:
    picture = drawn([1.0, 3.0, 2.0], None)
    heights = [float(point.attrib["cy"]) for point in picture.iter(f"{SVG}circle")]
    assert heights[1] < heights[2] < heights[0]


def test_points_keep_their_distance_in_time() -> None:
    picture = drawn([1.0, 1.0, 1.0], None)
    across = [float(point.attrib["cx"]) for point in picture.iter(f"{SVG}circle")]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)


def test_a_limit_outside_of_the_values_is_still_in_the_picture() -> None:
    picture = drawn([1.0, 2.0, 3.0], 10.0)
    (limit,) = picture.iter(f"{SVG}line")
    lowest_point = max(float(point.attrib["cy"]) for point in picture.iter(f"{SVG}circle"))
    assert 0 < float(limit.attrib["y1"]) < lowest_point


def test_equal_values_at_one_instant_can_be_drawn() -> None:
    history = [(FIRST, 5.0)] * 3
    assert ElementTree.fromstring(plots.trend("Rows", history, None)).tag == f"{SVG}svg"


def test_a_hostile_title_stays_text() -> None:
    picture = drawn([1.0, 2.0, 3.0], None, title='<script>"&')
    assert next(one.text for one in picture.iter(f"{SVG}text")) == '<script>"&'


def test_a_picture_in_markdown_needs_nothing_from_elsewhere() -> None:
    opening, _, encoded = plots.in_markdown("Rows", "<svg/>").removesuffix(")").partition(",")
    assert (opening, base64.b64decode(encoded)) == (
        "![Rows](data:image/svg+xml;base64",
        b"<svg/>",
    )


def test_bars_are_as_high_as_their_values() -> None:
    picture = ElementTree.fromstring(plots.bars("Rows", [("a", 1.0), ("b", 4.0), ("c", 0.0)]))
    heights = [float(one.attrib["height"]) for one in list(picture.iter(f"{SVG}rect"))[1:]]
    assert (heights[1] / heights[0], heights[2]) == (pytest.approx(4), 0)


def test_bars_of_nothing_but_zeros_can_be_drawn() -> None:
    picture = ElementTree.fromstring(plots.bars("Rows", [("a", 0.0)]))
    assert [one.attrib["height"] for one in picture.iter(f"{SVG}rect")][1:] == ["0.0"]
