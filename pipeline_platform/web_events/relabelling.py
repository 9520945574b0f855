"""Other labels or scores for events that are published, and what they would change (B-10).

Pure: relations in, a relation or Arrow tables out. `proposals.py` stages what `relabelled` makes,
shows what `Comparison` tells, and then publishes or throws away.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.failures import BadInputError
from pipeline_platform.lake.relations import as_view
from pipeline_platform.web_events.bots import FRIEND
from pipeline_platform.web_events.normalisation import (
    LABEL_COLUMNS,
    SCORE_COLUMNS,
    Reading,
    label_events,
    score_records,
)
from pipeline_platform.web_events.tables import WEB_EVENTS

Change = Literal["labels", "scores"]
BECOMES_BOT = "becomes bot"
BECOMES_HUMAN = "becomes human"

_SIDE_CHANGES = "was_bot <> is_bot"
_LABEL_CHANGES = f"({_SIDE_CHANGES} OR rule_before IS DISTINCT FROM rule_after)"
_SCORE_CHANGES = "(score_before <> score_after OR deductions_before <> deductions_after)"
_CHANGES = f"({_LABEL_CHANGES} OR {_SCORE_CHANGES} OR has_other_device)"


@dataclass(frozen=True)
class Relabelling:
    """How two labelings and scorings of the same events differ.

    `by_day`: event_date, events, bot_events_before, bot_events_after, bot_percentage_before,
    bot_percentage_after, becomes_bot, becomes_human; every day, in order.
    `by_rule`: bot_rule_id, events_before, events_after, becomes_bot (events that this rule newly
    labels), becomes_human (events that lost their label from this rule), agents (distinct, of
    the events that change sides); rules with any event, greatest change first. A null
    `bot_rule_id` stands for no rule.
    `examples`: direction (BECOMES_BOT or BECOMES_HUMAN), user_agent, rule_before, rule_after,
    events, event_id (the least of them, to look one up); agents with most events first.
    `scores_by_day`: event_date, rescored_events, avg_before, avg_after, min_before, min_after.
    `scores_by_rule`: rule, events_before, events_after, cost_before, cost_after (summed over the
    events); greatest change of cost first.
    `relabelled_events` get another rule or side, of which `changed_events` change sides;
    `befriended_events` are a friend's afterwards; `rescored_events` get another score or other
    deductions. `changed_days` (event_date) have any of these, or an event of another device.
    """

    by_day: pa.Table
    by_rule: pa.Table
    examples: pa.Table
    scores_by_day: pa.Table
    scores_by_rule: pa.Table
    changed_days: pa.Table
    relabelled_events: int
    changed_events: int
    befriended_events: int
    rescored_events: int

    @property
    def is_unchanged(self) -> bool:
        """Tell whether every event keeps its label, its rule, its device and its score."""
        return len(self.changed_days) == 0

    def as_plain(self) -> dict[str, Any]:
        """Return everything as lists and numbers, to be kept as JSON."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: value.to_pylist() if isinstance(value, pa.Table) else value
            for name, value in values.items()
        }


def relabelled(
    engine: duckdb.DuckDBPyConnection,
    silver: duckdb.DuckDBPyRelation,
    bronze: duckdb.DuckDBPyRelation,
    reading: Reading,
    changes: Collection[Change],
) -> duckdb.DuckDBPyRelation:
    """Return rows of WEB_EVENTS with labels or scores, or both, as `reading` wants them.

    Everything else stays as it was published, whatever else a new reading would find. Labels
    come from `silver` alone, scores from the `bronze` records of its rows; an event whose record
    bronze does not hold any more is left out.
    """
    rows = silver
    if "labels" in changes:
        names = ", ".join(LABEL_COLUMNS)
        kept = as_view(rows.project(f"* EXCLUDE ({names})"), "unlabelled")
        labelled = as_view(label_events(engine, engine.table(kept), reading), "labelled")
        rows = engine.sql(f"SELECT {', '.join(WEB_EVENTS.schema.names)} FROM {labelled}")
    if "scores" in changes:
        scores = as_view(score_records(engine, bronze, reading), "scores")
        kept = as_view(rows.project(f"* EXCLUDE ({', '.join(SCORE_COLUMNS)})"), "unscored")
        rows = engine.sql(
            f"SELECT {', '.join(WEB_EVENTS.schema.names)}"
            f" FROM {kept} JOIN {scores} USING (file_sha256, line_number)"
        )
    return rows


class Comparison:
    """Two labelings and scorings compared day by day, in memory that grows with what differs.

    What is kept of a day is grouped: by rules, by agents of the events that change sides, and by
    deductions.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Keep what is found in a temporary table of `engine`."""
        self._engine = engine
        engine.execute(_TABLE)

    def add(
        self,
        engine: duckdb.DuckDBPyConnection,
        before: duckdb.DuckDBPyRelation,
        after: duckdb.DuckDBPyRelation,
    ) -> bool:
        """Compare the same events before and after; tell whether anything differs.

        Both relations belong to `engine`. They need event_id (unique in a day), event_date,
        user_agent, device_type, is_bot, bot_rule_id, data_quality_score and score_deductions.
        Raises BadInputError when an event stands in one of them only, for then more than labels
        and scores differ.
        """
        old, new = as_view(before, "before"), as_view(after, "after")
        grouped = engine.execute(_GROUPED.format(before=old, after=new)).to_arrow_table()
        unpaired = sum(grouped.filter(pc.field("is_unpaired"))["events"].to_pylist())
        if unpaired:
            raise BadInputError(
                f"{unpaired} events stand in only one of the two labelings; compare labelings of "
                "the same snapshot of bronze."
            )
        found = as_view(self._engine.from_arrow(grouped), "found")
        self._engine.execute(f"INSERT INTO label_changes SELECT * EXCLUDE is_unpaired FROM {found}")
        differing = self._engine.execute(
            f"SELECT count(*) FROM {found} WHERE {_CHANGES}"
        ).fetchone()
        self._engine.execute(f"DROP VIEW {found}")
        return bool(differing and differing[0])

    def result(self, *, examples: int = 20) -> Relabelling:
        """Return what all days together show, with at most `examples` agents by direction."""
        engine = self._engine

        def count(condition: str) -> int:
            query = f"SELECT coalesce(sum(events) FILTER ({condition}), 0) FROM label_changes"
            row = engine.execute(query).fetchone()
            return int(row[0]) if row else 0

        return Relabelling(
            by_day=engine.execute(_BY_DAY).to_arrow_table(),
            by_rule=engine.execute(_BY_RULE).to_arrow_table(),
            examples=engine.execute(_EXAMPLES, {"examples": examples}).to_arrow_table(),
            scores_by_day=engine.execute(_SCORES_BY_DAY).to_arrow_table(),
            scores_by_rule=engine.execute(_SCORES_BY_RULE).to_arrow_table(),
            changed_days=engine.execute(_CHANGED_DAYS).to_arrow_table(),
            relabelled_events=count(_LABEL_CHANGES),
            changed_events=count(_SIDE_CHANGES),
            befriended_events=count(f"starts_with(rule_after, '{FRIEND}')"),
            rescored_events=count(_SCORE_CHANGES),
        )


_TABLE = """
    CREATE TEMP TABLE label_changes (
        event_date DATE, was_bot BOOLEAN, is_bot BOOLEAN, rule_before VARCHAR, rule_after VARCHAR,
        has_other_device BOOLEAN, score_before DOUBLE, score_after DOUBLE,
        deductions_before VARCHAR, deductions_after VARCHAR,
        user_agent VARCHAR, events BIGINT, event_id VARCHAR
    )
"""
_GROUPED = f"""
    WITH pairs AS (
        SELECT coalesce(old.event_id, new.event_id) AS event_id,
            coalesce(old.event_date, new.event_date) AS event_date,
            coalesce(old.user_agent, new.user_agent) AS user_agent,
            old.is_bot AS was_bot, new.is_bot AS is_bot,
            old.bot_rule_id AS rule_before, new.bot_rule_id AS rule_after,
            old.device_type <> new.device_type AS has_other_device,
            old.data_quality_score AS score_before, new.data_quality_score AS score_after,
            old.score_deductions AS deductions_before, new.score_deductions AS deductions_after,
            old.event_id IS NULL OR new.event_id IS NULL AS is_unpaired
        FROM {{before}} AS old
        FULL JOIN {{after}} AS new USING (event_date, event_id)
    )
    SELECT event_date, was_bot, is_bot, rule_before, rule_after, has_other_device,
        score_before, score_after, deductions_before, deductions_after,
        CASE WHEN {_SIDE_CHANGES} THEN coalesce(user_agent, '') END AS user_agent,
        count(*) AS events, min(event_id) AS event_id, is_unpaired
    FROM pairs
    GROUP BY ALL
"""
_BY_DAY = f"""
    SELECT event_date, sum(events)::BIGINT AS events,
        coalesce(sum(events) FILTER (was_bot), 0)::BIGINT AS bot_events_before,
        coalesce(sum(events) FILTER (is_bot), 0)::BIGINT AS bot_events_after,
        100.0 * bot_events_before / sum(events) AS bot_percentage_before,
        100.0 * bot_events_after / sum(events) AS bot_percentage_after,
        coalesce(sum(events) FILTER ({_SIDE_CHANGES} AND is_bot), 0)::BIGINT AS becomes_bot,
        coalesce(sum(events) FILTER ({_SIDE_CHANGES} AND was_bot), 0)::BIGINT AS becomes_human
    FROM label_changes GROUP BY event_date ORDER BY event_date
"""
_BY_RULE = f"""
    WITH sides AS (
        SELECT rule_before AS bot_rule_id, events AS events_before, 0 AS events_after,
            0 AS becomes_bot,
            CASE WHEN {_SIDE_CHANGES} AND was_bot THEN events ELSE 0 END AS becomes_human,
            CASE WHEN was_bot THEN user_agent END AS agent
        FROM label_changes
        UNION ALL
        SELECT rule_after, 0, events,
            CASE WHEN {_SIDE_CHANGES} AND is_bot THEN events ELSE 0 END, 0,
            CASE WHEN is_bot THEN user_agent END
        FROM label_changes
    )
    SELECT bot_rule_id, sum(events_before)::BIGINT AS events_before,
        sum(events_after)::BIGINT AS events_after, sum(becomes_bot)::BIGINT AS becomes_bot,
        sum(becomes_human)::BIGINT AS becomes_human, count(DISTINCT agent) AS agents
    FROM sides GROUP BY bot_rule_id
    ORDER BY sum(sides.becomes_bot + sides.becomes_human) DESC,
        abs(sum(sides.events_after - sides.events_before)) DESC, bot_rule_id
"""
_EXAMPLES = f"""
    SELECT CASE WHEN is_bot THEN '{BECOMES_BOT}' ELSE '{BECOMES_HUMAN}' END AS direction,
        user_agent, rule_before, rule_after, sum(label_changes.events)::BIGINT AS events,
        min(label_changes.event_id) AS event_id
    FROM label_changes WHERE {_SIDE_CHANGES}
    GROUP BY is_bot, user_agent, rule_before, rule_after
    QUALIFY row_number() OVER (PARTITION BY is_bot
        ORDER BY sum(label_changes.events) DESC, min(label_changes.event_id)) <= $examples
    ORDER BY direction, events DESC, event_id
"""
_SCORES_BY_DAY = f"""
    SELECT event_date,
        coalesce(sum(events) FILTER ({_SCORE_CHANGES}), 0)::BIGINT AS rescored_events,
        sum(events * score_before) / sum(events) AS avg_before,
        sum(events * score_after) / sum(events) AS avg_after,
        min(score_before) AS min_before, min(score_after) AS min_after
    FROM label_changes GROUP BY event_date ORDER BY event_date
"""
_SCORES_BY_RULE = """
    WITH sides AS (
        SELECT unnest(json_keys(deductions_before)) AS rule, events,
            deductions_before AS deductions, 1 AS is_before
        FROM label_changes
        UNION ALL
        SELECT unnest(json_keys(deductions_after)), events, deductions_after, 0 FROM label_changes
    ),
    costs AS (
        SELECT rule, events, is_before,
            events * json_extract(deductions, '$."' || rule || '"')::DOUBLE AS cost
        FROM sides
    )
    SELECT rule, sum(events * is_before)::BIGINT AS events_before,
        sum(events * (1 - is_before))::BIGINT AS events_after,
        round(sum(cost * is_before), 6) AS cost_before,
        round(sum(cost * (1 - is_before)), 6) AS cost_after
    FROM costs GROUP BY rule ORDER BY abs(cost_after - cost_before) DESC, rule
"""
_CHANGED_DAYS = f"""
    SELECT DISTINCT event_date FROM label_changes
    WHERE {_CHANGES} ORDER BY event_date
"""
