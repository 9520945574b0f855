"""An agent says browser, version, system and kind of device, or nothing."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.web_events.user_agents import (
    DESCRIPTIONS,
    DEVICE_TYPES,
    Description,
    describe,
    describe_agents,
)

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


def test_a_desktop_browser() -> None:
    agent = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0.6099.71 Safari/537.36"
    assert describe(agent) == Description("Chrome", "120.0.6099.71", "Windows", "desktop")


def test_a_telephone() -> None:
    agent = (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
        "Gecko) Version/17.2 Mobile/15E148 Safari/604.1"
    )
    assert describe(agent) == Description("Mobile Safari", "17.2", "iOS", "mobile")


@pytest.mark.parametrize(
    ("agent", "device_type"),
    [
        (
            f"Mozilla/5.0 (Linux; Android 13; Pixel 7) {WEBKIT} Chrome/119 Mobile Safari/537",
            "mobile",
        ),
        (f"Mozilla/5.0 (Linux; Android 12; SM-T870) {WEBKIT} Chrome/119.0 Safari/537.36", "tablet"),
        (f"Mozilla/5.0 (Linux; Android 9; Unheard) {WEBKIT} Chrome/119.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) AppleWebKit/605.1.15", "tablet"),
        (f"Mozilla/5.0 (Web0S; Linux/SmartTV) {WEBKIT} Chrome/79.0 Safari/537.36", "tv"),
        (f"Mozilla/5.0 (Linux; Android 9; AFTSS) {WEBKIT} Silk/99 Safari/537.36", "tv"),
        ("HbbTV/1.2.1 (;Panasonic;VIERA 2016;30.012;8501-0003;)", "tv"),
        ("Mozilla/5.0 (PlayStation; PlayStation 5/4.03) AppleWebKit/605.1.15", "other"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36", "desktop"),
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121", "desktop"),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Tablet PC 2.0)", "desktop"),
        ("Nokia6230i/2.0 (03.40) Profile/MIDP-2.0 Configuration/CLDC-1.1", "mobile"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot"),
        ("something never heard of", "unknown"),
    ],
)
def test_kinds_of_device(agent: str, device_type: str) -> None:
    assert describe(agent).device_type == device_type


@pytest.mark.parametrize("agent", [None, "", "-", "\x00"])
def test_no_agent_says_nothing(agent: str | None) -> None:
    assert describe(agent) == Description(None, None, None, "unknown")


def test_a_table_has_a_row_for_each_agent_in_order() -> None:
    table = describe_agents(["curl/8.4.0", None])
    assert (table.schema, table["user_agent"].to_pylist()) == (DESCRIPTIONS, ["curl/8.4.0", None])


def test_no_agents_give_an_empty_table() -> None:
    assert describe_agents([]).num_rows == 0


@settings(deadline=None)
@given(st.text(max_size=300))
def test_every_text_has_a_known_kind_of_device(agent: str) -> None:
    assert describe(agent).device_type in DEVICE_TYPES


@pytest.mark.parametrize(
    "agent",
    ["Mozilla/5.0 (" * 8_000, "Android;" * 12_500, "a" * 100_000, "Version/" + "1." * 50_000],
    ids=["comments", "android", "letters", "version"],
)
def test_a_hostile_agent_takes_no_time(agent: str) -> None:
    describe("warm")
    began = time.process_time()
    for _ in range(20):
        describe(agent)
    assert time.process_time() - began < 0.5
