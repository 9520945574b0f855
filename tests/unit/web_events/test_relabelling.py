"""What another labeling would change, by day, by rule and with examples."""

from datetime import date

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.failures import BadInputError
from pipeline_platform.web_events.relabelling import (
    BECOMES_BOT,
    BECOMES_HUMAN,
    Comparison,
    Relabelling,
)
from tests.examples import examples

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_date", pa.date32()),
        ("user_agent", pa.string()),
        ("is_bot", pa.bool_()),
        ("bot_rule_id", pa.string()),
        ("device_type", pa.string()),
        ("data_quality_score", pa.float64()),
        ("score_deductions", pa.string()),
    ]
)
PERFECT = ("desktop", 1.0, "{}")
Row = tuple[str, date, str | None, bool, str | None]


def compare(before: list[Row], after: list[Row], examples: int = 20) -> Relabelling:
    return compare_scored(
        [(*row, *PERFECT) for row in before], [(*row, *PERFECT) for row in after], examples
    )


def compare_scored(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]], examples: int = 20
) -> Relabelling:
    with duckdb.connect() as engine, duckdb.connect() as totals:
        old, new = (
            engine.from_arrow(
                pa.Table.from_pylist(
                    [dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA
                )
            )
            for rows in (before, after)
        )
        comparison = Comparison(totals)
        comparison.add(engine, old, new)
        return comparison.result(examples=examples)


def labelled(event_id: str, rule: str | None, day: date = MONDAY, agent: str | None = "a") -> Row:
    return (event_id, day, agent, rule is not None and not rule.startswith("friend:"), rule)


def test_the_share_of_each_day_before_and_after() -> None:
    before = [labelled("1", "r"), labelled("2", None), labelled("3", None, TUESDAY)]
    after = [labelled("1", "r"), labelled("2", "s"), labelled("3", None, TUESDAY)]
    days = compare(before, after).by_day.to_pylist()
    assert [tuple(day.values()) for day in days] == [
        (MONDAY, 2, 1, 2, 50.0, 100.0, 1, 0),
        (TUESDAY, 1, 0, 0, 0.0, 0.0, 0, 0),
    ]


def test_the_effect_of_each_rule() -> None:
    before = [labelled("1", "old"), labelled("2", None), labelled("3", None), labelled("4", "old")]
    after = [labelled("1", None), labelled("2", "new"), labelled("3", "new"), labelled("4", "new")]
    rules = {row.pop("bot_rule_id"): row for row in compare(before, after).by_rule.to_pylist()}
    assert rules["new"] == {
        "events_before": 0,
        "events_after": 3,
        "becomes_bot": 2,
        "becomes_human": 0,
        "agents": 1,
    }
    assert (rules["old"]["becomes_human"], rules["old"]["events_after"]) == (1, 0)


def test_examples_show_the_agent_its_rules_and_an_event() -> None:
    before = [labelled("2", None, agent="x"), labelled("1", None, agent="x"), labelled("3", "old")]
    after = [labelled("2", "new", agent="x"), labelled("1", "new", agent="x"), labelled("3", None)]
    assert [tuple(row.values()) for row in compare(before, after).examples.to_pylist()] == [
        (BECOMES_BOT, "x", None, "new", 2, "1"),
        (BECOMES_HUMAN, "a", "old", None, 1, "3"),
    ]


def test_examples_are_bounded_for_each_direction() -> None:
    before = [labelled(str(n), None if n % 2 else "r", agent=f"a{n}") for n in range(10)]
    after = [labelled(str(n), "r" if n % 2 else None, agent=f"a{n}") for n in range(10)]
    directions = compare(before, after, examples=2).examples["direction"].to_pylist()
    assert directions == [BECOMES_BOT] * 2 + [BECOMES_HUMAN] * 2


def test_befriended_events_are_counted() -> None:
    found = compare([labelled("1", "library/curl")], [labelled("1", "friend:acme")])
    assert (found.befriended_events, found.changed_events) == (1, 1)


def test_a_change_of_rule_alone_changes_no_sides() -> None:
    found = compare([labelled("1", "r")], [labelled("1", "s")])
    assert (found.changed_events, found.relabelled_events, found.is_unchanged) == (0, 1, False)


def test_rules_that_swap_their_events_are_a_change() -> None:
    before = [labelled("1", "r"), labelled("2", "s")]
    assert not compare(before, [labelled("1", "s"), labelled("2", "r")]).is_unchanged


def test_the_same_labels_change_nothing() -> None:
    rows = [labelled("1", "r"), labelled("2", None, agent=None)]
    assert compare(rows, rows).is_unchanged


def test_no_events_change_nothing() -> None:
    assert compare([], []).is_unchanged


@pytest.mark.parametrize("missing_in", ["before", "after"])
def test_other_events_are_refused(missing_in: str) -> None:
    one, two = [labelled("1", None)], [labelled("1", None), labelled("2", None)]
    with pytest.raises(BadInputError, match="1 events stand in only one"):
        compare(*((one, two) if missing_in == "before" else (two, one)))


@examples(15)
@given(
    st.lists(
        st.tuples(st.sampled_from([MONDAY, TUESDAY]), *[st.sampled_from([None, "r", "s"])] * 2),
        max_size=20,
    )
)
def test_days_and_rules_add_up(changes: list[tuple[date, str | None, str | None]]) -> None:
    before = [labelled(str(n), rule, day) for n, (day, rule, _) in enumerate(changes)]
    after = [labelled(str(n), rule, day) for n, (day, _, rule) in enumerate(changes)]
    found = compare(before, after)
    days, rules = found.by_day.to_pylist(), found.by_rule.to_pylist()
    assert sum(day["becomes_bot"] + day["becomes_human"] for day in days) == found.changed_events
    assert sum(rule["becomes_bot"] + rule["becomes_human"] for rule in rules) == (
        found.changed_events
    )
    assert sum(rule["events_after"] for rule in rules) == len(changes)


def test_scores_of_each_day_before_and_after() -> None:
    before = [
        (*labelled("1", None), "desktop", 0.9, '{"late": 0.1}'),
        (*labelled("2", None), *PERFECT),
    ]
    after = [
        (*labelled("1", None), "desktop", 0.5, '{"late": 0.5}'),
        (*labelled("2", None), *PERFECT),
    ]
    found = compare_scored(before, after)
    assert found.rescored_events == 1
    assert [tuple(day.values()) for day in found.scores_by_day.to_pylist()] == [
        (MONDAY, 1, 0.95, 0.75, 0.9, 0.5)
    ]


def test_what_each_scoring_rule_costs_before_and_after() -> None:
    before = [(*labelled("1", None), "desktop", 0.9, '{"late": 0.1}')]
    after = [(*labelled("1", None), "desktop", 0.3, '{"late": 0.5, "missing_url": 0.2}')]
    assert [
        tuple(row.values()) for row in compare_scored(before, after).scores_by_rule.to_pylist()
    ] == [
        ("late", 1, 1, 0.1, 0.5),
        ("missing_url", 0, 1, 0.0, 0.2),
    ]


def test_days_in_which_anything_differs_are_named() -> None:
    before = [(*labelled("1", None), *PERFECT), (*labelled("2", None, TUESDAY), *PERFECT)]
    after = [before[0], (*labelled("2", None, TUESDAY), "unknown", 1.0, "{}")]
    assert compare_scored(before, after).changed_days.to_pylist() == [{"event_date": TUESDAY}]


def test_days_are_added_up() -> None:
    days = [[labelled("1", None, day)] for day in (MONDAY, TUESDAY)]
    relabelled = [[labelled("1", "r", day)] for day in (MONDAY, TUESDAY)]
    with duckdb.connect() as totals:
        comparison = Comparison(totals)
        for before, after in zip(days, relabelled, strict=True):
            with duckdb.connect() as engine:
                old, new = (
                    engine.from_arrow(
                        pa.Table.from_pylist(
                            [
                                dict(zip(SCHEMA.names, (*row, *PERFECT), strict=True))
                                for row in rows
                            ],
                            schema=SCHEMA,
                        )
                    )
                    for rows in (before, after)
                )
                comparison.add(engine, old, new)
        found = comparison.result()
    assert ([row["agents"] for row in found.by_rule.to_pylist()], found.changed_events) == (
        [1, 0],
        2,
    )
