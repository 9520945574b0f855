"""Bronze to silver: what a record says, typed; what it says wrongly, null and charged."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.failures import NotFoundError
from pipeline_platform.web_events import urls
from pipeline_platform.web_events.bot_behaviour import BehaviourLimits
from pipeline_platform.web_events.bots import load_bot_list
from pipeline_platform.web_events.duplicates import KEYS
from pipeline_platform.web_events.normalisation import (
    Normalised,
    Reading,
    Surroundings,
    normalise,
)
from pipeline_platform.web_events.scoring import RULES, score_version
from pipeline_platform.web_events.sources import load_mappings
from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS
from tests.examples import examples

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36"
)
READING = Reading(
    sources=load_mappings(),
    bot_list=load_bot_list(),
    behaviour=BehaviourLimits(),
    session_minutes=30,
    late_after_hours=24,
    deduplication_days=2,
    score=dict.fromkeys(RULES, 0.1),
    known_event_types=["click", "page_view", "purchase", "asset", "request"],
)
PERFECT = {
    "event_type": "click",
    "anonymous_id": "a1",
    "url": "https://shop.example/p?q=1",
    "user_agent": CHROME,
    "ip": "192.0.2.1",
}


def bronze(
    event_id: str = "e1",
    at: datetime = NOON,
    *,
    source: str = "standard_events",
    file: str = "f",
    line: int = 1,
    received: datetime | None = None,
    raw: str | None = None,
    **fields: object,
) -> dict[str, object]:
    record = {"event_id": event_id, "event_time": at.isoformat(), **PERFECT, **fields}
    return {
        "event_date": at.date(),
        "event_at": at,
        "event_id": event_id,
        "source": source,
        "raw": raw or json.dumps(record),
        "file_name": file,
        "file_sha256": file * 64,
        "line_number": line,
        "received_at": received or at + timedelta(minutes=1),
    }


def numbered(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    return [{**row, "line_number": number} for number, row in enumerate(rows, start=1)]


class Result:
    """What normalising gave, read out before its engine closes."""

    def __init__(self, normalised: Normalised) -> None:
        self.rows = normalised.events.order("event_at, event_id").to_arrow_table().to_pylist()
        self.counts = normalised.counts.order("file_sha256, event_date").fetchall()
        self.outdated = normalised.outdated_days
        self.slices = normalised.slices


def run(
    rows: Sequence[dict[str, object]],
    *,
    dates: Sequence[date] = (DAY,),
    neighbours: Sequence[dict[str, object]] = (),
    published: Sequence[dict[str, object]] = (),
    published_neighbours: Sequence[dict[str, object]] = (),
    reading: Reading = READING,
) -> Result:
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")

        def relation(given: Sequence[dict[str, object]]) -> duckdb.DuckDBPyRelation:
            return engine.from_arrow(pa.Table.from_pylist(list(given), RAW_EVENTS.schema))

        around = Surroundings(
            *(relation(one).project(KEYS) for one in (neighbours, published, published_neighbours))
        )
        return Result(normalise(engine, relation(rows), dates, around, reading))


def one(**fields: object) -> dict[str, object]:
    (row,) = run([bronze(**fields)]).rows
    return row


def test_the_columns_are_those_of_the_table() -> None:
    assert list(one()) == WEB_EVENTS.schema.names


def test_no_record_at_all_gives_no_event() -> None:
    assert run([]).rows == []


def test_a_perfect_event_has_the_whole_score() -> None:
    row = one()
    assert (row["data_quality_score"], row["score_deductions"]) == (1.0, "{}")


@pytest.mark.parametrize(
    ("written", "value"),
    [("12.5", "12.5000"), (12.5, "12.5000"), ("99999999999999.9999", "99999999999999.9999"),
     ("9999999999999999.9999", "9999999999999999.9999"), (" 7 ", "7.0000"), ("-3", "-3.0000")],
)  # fmt: skip
def test_a_number_may_be_written_as_a_string(written, value) -> None:
    assert one(value=written, currency="EUR")["value"] == Decimal(value)


@pytest.mark.parametrize(
    ("field", "written", "column"),
    [("value", "lots", "value"), ("status_code", 99, "status_code"),
     ("status_code", "OK", "status_code"), ("response_bytes", -1, "response_bytes"),
     ("duration_ms", "fast", "duration_ms")],
)  # fmt: skip
def test_what_is_no_number_is_null_and_charged(field, written, column) -> None:
    row = one(**{field: written, "currency": "EUR"})
    assert row[column] is None
    assert "unreadable_number" in json.loads(row["score_deductions"])


def test_parts_of_an_address() -> None:
    row = one(url="HTTPS://user@Shop.Example:8443/p/1?utm_source=a%20b&utm_medium=cpc#x")
    parts = [row[f"url_{name}"] for name in ("scheme", "host", "path", "query")]
    assert parts == ["https", "shop.example", "/p/1", "utm_source=a%20b&utm_medium=cpc"]


PIECES = st.sampled_from(
    [*"/?#@:&-. \né", "http", "https", "HTTP", "ftp", "://", "[::1]", "a.example", "p%20q", "x=1"]
)


@given(st.lists(st.lists(PIECES, max_size=9).map("".join), min_size=1, max_size=200))
@examples(12)
def test_a_plain_address_has_the_parts_that_any_address_has(addresses: list[str]) -> None:
    addresses += [f"https://a.example/{one}" for one in addresses]
    nothing = f"CASE WHEN false THEN {urls.plain_url_parts('url')} END"
    with duckdb.connect() as engine:
        relation = engine.from_arrow(pa.table({"url": addresses}))
        found = relation.project(f"*, {urls.plain_url_parts('url')} AS plain, {nothing} AS none")
        different = f"{urls.url_parts('url', 'plain')} <> {urls.url_parts('url', 'none')}"
        assert found.filter(different).fetchall() == []


@pytest.mark.parametrize(
    ("query", "source"),
    [("utm_source=a+b", "a b"), ("utm_source=%C3%A9", "é"), ("x=1&utm_source=n", "n"),
     ("utm_source=", None), ("xutm_source=n", None), ("", None)],
)  # fmt: skip
def test_a_campaign_parameter_is_decoded(query, source) -> None:
    assert one(url=f"https://shop.example/?{query}")["utm_source"] == source


@pytest.mark.parametrize(
    ("url", "referrer", "channel"),
    [
        ("https://shop.example/", None, "direct"),
        ("https://shop.example/", "https://www.shop.example/p", "internal"),
        ("https://shop.example/", "https://www.google.co.uk/", "search"),
        ("https://shop.example/", "https://t.co/1", "social"),
        ("https://shop.example/", "https://mail.google.com/", "email"),
        ("https://shop.example/", "https://blog.example.org/", "referral"),
        ("https://shop.example/", "nonsense", "unknown"),
        ("https://shop.example/?utm_medium=Email", "https://www.google.com/", "email"),
        ("https://shop.example/?utm_campaign=x", "https://www.google.com/", "campaign"),
    ],
)
def test_the_channel_of_a_visit(url, referrer, channel) -> None:
    assert one(url=url, referrer=referrer)["traffic_channel"] == channel


def test_keys_that_no_column_takes_are_kept() -> None:
    row = one(properties={"size": "L"}, colour="red", nested={"deep": [1, None]})
    assert json.loads(row["properties"]) == {
        "size": "L", "colour": "red", "nested": {"deep": [1, None]}
    }  # fmt: skip


@pytest.mark.parametrize("properties", ["text", 5, [1, 2], True])
def test_properties_that_are_no_object_are_kept_too(properties) -> None:
    kept = json.loads(one(properties=properties)["properties"])["properties"]
    assert kept in (properties, json.dumps(properties), str(properties).lower(), "[1,2]")


def test_ten_thousand_new_keys_are_kept() -> None:
    keys = {f"key_{number}": number for number in range(10_000)}
    assert json.loads(one(**keys)["properties"]) == keys


def test_a_type_never_seen_is_an_event_and_charged() -> None:
    row = one(event_type="Teleport")
    assert row["event_type"] == "teleport"
    assert json.loads(row["score_deductions"]) == {"unknown_event_type": 0.1}


def test_a_late_event_is_marked() -> None:
    assert one(received=NOON + timedelta(hours=24, seconds=1))["is_late"]
    assert not one(received=NOON + timedelta(hours=24))["is_late"]


def test_a_visitor_without_an_id_is_known_by_address_and_agent() -> None:
    rows = run(
        numbered(
            [
                bronze("1", anonymous_id=None),
                bronze("2", anonymous_id=None),
                bronze("3", anonymous_id=None, ip="192.0.2.2"),
                bronze("4", anonymous_id=None, user_id="u"),
            ]
        )
    ).rows
    first, second, third, fourth = (row["visitor_id"] for row in rows)
    assert first == second != third
    assert fourth == "u"


def test_a_bot_carries_its_rule_and_its_list() -> None:
    row = one(user_agent="Googlebot/2.1 (+http://www.google.com/bot.html)")
    assert row["is_bot"]
    assert row["bot_rule_id"]
    assert row["device_type"] == "bot"


def test_a_visitor_that_behaves_like_a_bot_is_one_on_that_day_only() -> None:
    fast = [
        bronze(f"{n}", NOON + timedelta(seconds=n / 2), line=n, event_type="page_view")
        for n in range(480)
    ]
    slow = bronze("next day", NOON + timedelta(days=1), line=999)
    rows = run([*fast, slow], dates=(DAY, DAY + timedelta(days=1))).rows
    assert {(row["event_date"], row["is_bot"]) for row in rows} == {
        (DAY, True), (DAY + timedelta(days=1), False)
    }  # fmt: skip


def test_a_session_ends_after_the_pause_and_at_midnight() -> None:
    minutes = [0, 30, 61, 719, 721]
    rows = run(
        [bronze(f"{n}", NOON + timedelta(minutes=n), line=n) for n in minutes],
        dates=(DAY, DAY + timedelta(days=1)),
    ).rows
    assert [row["session_event_number"] for row in rows] == [1, 2, 1, 1, 1]
    assert len({row["session_id"] for row in rows}) == 4


def test_slices_hold_every_event_once_in_order_and_few_at_a_time() -> None:
    minutes = [5, 1, 4, 2, 3, 800, 801]
    rows = [bronze(f"{n}", NOON + timedelta(minutes=n), line=n) for n in minutes]
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        relation = engine.from_arrow(pa.Table.from_pylist(rows, RAW_EVENTS.schema))
        none = relation.filter("false").project(KEYS)
        dates = (DAY, DAY + timedelta(days=1))
        around = Surroundings(none, none, none)
        found = normalise(engine, relation, dates, around, READING, slice_rows=2)
        slices = [
            sorted(found.events.filter(one.condition).project("event_at, event_id").fetchall())
            for one in found.slices
        ]
    ids = [[event_id for _, event_id in part] for part in slices]
    assert ids == [["1", "2"], ["3", "4"], ["5"], ["800", "801"]]


def test_a_slice_knows_what_its_events_take_in_memory() -> None:
    rows = [bronze("a", NOON, line=1), bronze("b", NOON, line=2, user_agent="x" * 10_000)]
    (only,) = run(rows).slices
    assert only.bytes == sum(len(str(row["raw"])) + 400 for row in rows)


# --- one event, one row ------------------------------------------------------------------------


def test_the_copy_received_first_counts() -> None:
    rows = [
        bronze(file="a", received=NOON + timedelta(hours=2)),
        bronze(file="b", received=NOON + timedelta(hours=1)),
    ]
    found = run(rows)
    assert [row["file_name"] for row in found.rows] == ["b"]
    assert found.counts == [("a" * 64, DAY, 1, 1), ("b" * 64, DAY, 1, 0)]


def test_a_copy_on_another_day_received_before_takes_the_row_away() -> None:
    other = bronze(at=NOON - timedelta(days=2), file="b", received=NOON)
    assert run([bronze(received=NOON + timedelta(1))], neighbours=[other]).rows == []


def test_beyond_the_days_of_the_ruling_it_is_another_event() -> None:
    other = bronze(at=NOON - timedelta(days=3), file="b", received=NOON)
    assert len(run([bronze(received=NOON + timedelta(1))], neighbours=[other]).rows) == 1


def test_a_neighbour_whose_row_no_longer_counts_is_worked_on_again() -> None:
    other = bronze(at=NOON - timedelta(days=1), file="b", received=NOON + timedelta(1))
    found = run([bronze()], neighbours=[other], published_neighbours=[other])
    assert found.outdated == [DAY - timedelta(days=1)]


def test_a_neighbour_whose_row_counts_again_is_worked_on_again() -> None:
    gone = bronze()
    other = bronze(at=NOON - timedelta(days=1), file="b", received=NOON + timedelta(1))
    found = run([], neighbours=[other], published=[gone])
    assert found.outdated == [DAY - timedelta(days=1)]


def test_a_neighbour_that_is_right_is_left_alone() -> None:
    other = bronze(at=NOON - timedelta(days=1), file="b", received=NOON - timedelta(1))
    found = run([bronze()], neighbours=[other], published_neighbours=[other])
    assert (found.rows, found.outdated) == ([], [])


copies = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from("xyz"), st.integers(0, 3), st.sampled_from("ab")),
    max_size=16,
)


def winners(rows: Sequence[dict[str, object]]) -> set[tuple[object, object]]:
    """Say in plain Python which records count."""
    return {
        (row["event_date"], row["line_number"])
        for row in rows
        if not any(
            other["event_id"] == row["event_id"]
            and abs((other["event_date"] - row["event_date"]).days) <= READING.deduplication_days
            and (other["received_at"], other["file_sha256"], other["line_number"])
            < (row["received_at"], row["file_sha256"], row["line_number"])
            for other in rows
        )
    }


@examples(8)
@given(copies=copies, cut=st.integers(0, 6))
def test_days_together_or_apart_give_the_same_rows(copies, cut) -> None:
    rows = [
        bronze(event_id, NOON + timedelta(days=day), file=file, line=number,
               received=NOON + timedelta(days=10 + received))
        for number, (day, event_id, received, file) in enumerate(copies)
    ]  # fmt: skip
    found = set()
    for first, last in ((0, cut), (cut + 1, 7)):
        dates = [DAY + timedelta(days=day) for day in range(first, last + 1)]
        mine = [row for row in rows if row["event_date"] in dates]
        others = [row for row in rows if row["event_date"] not in dates]
        if dates:
            got = run(mine, dates=dates, neighbours=others).rows
            found |= {(row["event_date"], row["line_number"]) for row in got}
    assert found == winners(rows)


# --- the score ---------------------------------------------------------------------------------


BREAKING: dict[str, dict[str, object]] = {
    "missing_event_id": {"raw": json.dumps({**PERFECT, "event_time": NOON.isoformat()})},
    "missing_event_type": {"event_type": None},
    "unknown_event_type": {"event_type": "teleport"},
    "missing_visitor": {"anonymous_id": None, "ip": None},
    "missing_user_agent": {"user_agent": ""},
    "missing_client_address": {"ip": None},
    "missing_url": {"url": None},
    "unreadable_url": {"url": "?"},
    "unreadable_number": {"status_code": "OK"},
    "unreadable_currency": {"currency": "Euro"},
    "value_without_currency": {"value": 1},
    "late": {"received": NOON + timedelta(days=2)},
    "clock_ahead": {"received": NOON - timedelta(minutes=1)},
}


def test_every_rule_is_broken_here() -> None:
    assert set(BREAKING) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_costs_what_the_runbook_says_and_is_named(rule) -> None:
    weights = {**dict.fromkeys(RULES, 0.0), rule: 0.25}
    (row,) = run([bronze(**BREAKING[rule])], reading=replace(READING, score=weights)).rows
    assert (row["data_quality_score"], json.loads(row["score_deductions"])) == (0.75, {rule: 0.25})


def test_a_score_never_falls_below_nothing() -> None:
    broken = bronze(event_type=None, anonymous_id=None, ip=None, user_agent=None, url=None)
    weights = dict.fromkeys(RULES, 1.0)
    (row,) = run([broken], reading=replace(READING, score=weights)).rows
    assert row["data_quality_score"] == 0


def test_other_weights_are_another_version() -> None:
    assert score_version({"late": 0.1}, []) != score_version({"late": 0.2}, [])


def test_other_known_event_types_are_another_version() -> None:
    assert score_version({"late": 0.1}, []) != score_version({"late": 0.1}, ["click"])


def test_equal_weights_are_one_version_in_any_order() -> None:
    assert score_version({"a": 1, "b": 2}, []) == score_version({"b": 2, "a": 1}, [])


# --- access logs -------------------------------------------------------------------------------


def logged(line: str) -> dict[str, object]:
    return one(source="combined_log", raw=line)


@pytest.mark.parametrize(
    ("request_line", "status", "kind"),
    [("GET /a?b=1 HTTP/1.1", 200, "page_view"), ("GET /a.css HTTP/1.1", 200, "asset"),
     ("GET /a HTTP/1.1", 404, "request"), ("POST /a HTTP/1.1", 200, "request"),
     ("\\x16\\x03", 400, "request")],
)  # fmt: skip
def test_a_line_of_a_log_is_a_page_an_asset_or_a_request(request_line, status, kind) -> None:
    row = logged(f'1.2.3.4 - - [20/Nov/2026:12:00:00 +0000] "{request_line}" {status} 5 "-" "-"')
    assert (row["event_type"], row["status_code"]) == (kind, status)


def test_a_line_of_a_log_has_its_site_s_address() -> None:
    row = logged('1.2.3.4 - - [20/Nov/2026:12:00:00 +0000] "GET /a?b HTTP/1.1" 200 - "-" "-"')
    assert (row["url"], row["response_bytes"], row["referrer"], row["user_agent"]) == (
        "http://www.semicomplete.com/a?b", None, None, None
    )  # fmt: skip


def test_the_common_format_has_neither_referrer_nor_agent() -> None:
    row = logged('1.2.3.4 - bob [20/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.0" 304 0')
    assert (row["event_type"], row["client_address"]) == ("page_view", "1.2.3.4")


def test_a_source_without_a_mapping_is_named() -> None:
    with pytest.raises(NotFoundError, match="gone_source"):
        run([bronze(source="gone_source")])
