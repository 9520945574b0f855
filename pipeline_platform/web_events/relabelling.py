"""What another bot list would change (B-10): two labelings of the same events, compared.

Pure: two relations in, Arrow tables out. Who relabels history publishes to a branch, shows this,
and then keeps or throws away.
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pipeline_platform.failures import BadInputError
from pipeline_platform.lake.relations import as_view
from pipeline_platform.web_events.bots import FRIEND

BECOMES_BOT = "becomes bot"
BECOMES_HUMAN = "becomes human"

_PAIRS = """
    SELECT coalesce(old.event_id, new.event_id) AS event_id,
        coalesce(old.event_date, new.event_date) AS event_date,
        coalesce(old.user_agent, new.user_agent) AS user_agent,
        old.is_bot AS was_bot, new.is_bot AS is_bot,
        old.bot_rule_id AS rule_before, new.bot_rule_id AS rule_after,
        old.event_id IS NULL OR new.event_id IS NULL AS is_unpaired
    FROM {before} AS old
    FULL JOIN {after} AS new USING (event_date, event_id)
"""


@dataclass(frozen=True)
class Relabelling:
    """How two labelings of the same events differ.

    `by_day`: event_date, events, bot_events_before, bot_events_after, bot_percentage_before,
    bot_percentage_after, becomes_bot, becomes_human; every day, in order.
    `by_rule`: bot_rule_id, events_before, events_after, becomes_bot (events that this rule newly
    labels), becomes_human (events that lost their label from this rule), agents (distinct, of
    the events that change sides); rules with any event, greatest change first. A null
    `bot_rule_id` stands for no rule.
    `examples`: direction (BECOMES_BOT or BECOMES_HUMAN), user_agent, rule_before, rule_after,
    events, event_id (the least of them, to look one up); agents with most events first.
    `relabelled_events` get another rule or side, of which `changed_events` change sides;
    `befriended_events` are a friend's afterwards.
    """

    by_day: pa.Table
    by_rule: pa.Table
    examples: pa.Table
    relabelled_events: int
    changed_events: int
    befriended_events: int

    @property
    def is_unchanged(self) -> bool:
        """Tell whether every event keeps its label and its rule."""
        return self.relabelled_events == 0


def compare_labelings(
    engine: duckdb.DuckDBPyConnection,
    before: duckdb.DuckDBPyRelation,
    after: duckdb.DuckDBPyRelation,
    *,
    examples: int = 20,
) -> Relabelling:
    """Compare two labelings of the same events, such as two snapshots of silver.web_events.

    Both relations have event_id (unique), event_date, user_agent, is_bot and bot_rule_id; at most
    `examples` agents are shown for each direction. Raises BadInputError when an event stands in
    one of them only, for then more than the labels differ.
    """
    pairs = _PAIRS.format(before=as_view(before, "before"), after=as_view(after, "after"))
    engine.execute(f"CREATE OR REPLACE TEMP TABLE label_pairs AS {pairs}")
    try:
        _refuse_unpaired(engine)
        return Relabelling(
            by_day=engine.execute(_BY_DAY).to_arrow_table(),
            by_rule=engine.execute(_BY_RULE).to_arrow_table(),
            examples=engine.execute(_EXAMPLES, {"examples": examples}).to_arrow_table(),
            relabelled_events=_count(
                engine, "was_bot <> is_bot OR rule_before IS DISTINCT FROM rule_after"
            ),
            changed_events=_count(engine, "was_bot <> is_bot"),
            befriended_events=_count(engine, f"starts_with(rule_after, '{FRIEND}')"),
        )
    finally:
        engine.execute("DROP TABLE IF EXISTS label_pairs")


_BY_DAY = """
    SELECT event_date, count(*) AS events,
        count(*) FILTER (was_bot) AS bot_events_before,
        count(*) FILTER (is_bot) AS bot_events_after,
        100.0 * count(*) FILTER (was_bot) / count(*) AS bot_percentage_before,
        100.0 * count(*) FILTER (is_bot) / count(*) AS bot_percentage_after,
        count(*) FILTER (is_bot AND NOT was_bot) AS becomes_bot,
        count(*) FILTER (was_bot AND NOT is_bot) AS becomes_human
    FROM label_pairs GROUP BY event_date ORDER BY event_date
"""
_BY_RULE = """
    WITH sides AS (
        SELECT rule_before AS bot_rule_id, 1 AS events_before, 0 AS events_after, 0 AS becomes_bot,
            (was_bot AND NOT is_bot)::int AS becomes_human,
            CASE WHEN was_bot AND NOT is_bot THEN coalesce(user_agent, '') END AS agent
        FROM label_pairs
        UNION ALL
        SELECT rule_after, 0, 1, (is_bot AND NOT was_bot)::int, 0,
            CASE WHEN is_bot AND NOT was_bot THEN coalesce(user_agent, '') END
        FROM label_pairs
    )
    SELECT bot_rule_id, sum(events_before)::bigint AS events_before,
        sum(events_after)::bigint AS events_after, sum(becomes_bot)::bigint AS becomes_bot,
        sum(becomes_human)::bigint AS becomes_human, count(DISTINCT agent) AS agents
    FROM sides GROUP BY bot_rule_id
    ORDER BY sum(sides.becomes_bot + sides.becomes_human) DESC,
        abs(sum(sides.events_after - sides.events_before)) DESC, bot_rule_id
"""
_EXAMPLES = f"""
    SELECT CASE WHEN is_bot THEN '{BECOMES_BOT}' ELSE '{BECOMES_HUMAN}' END AS direction,
        user_agent, rule_before, rule_after, count(*) AS events,
        min(label_pairs.event_id) AS event_id
    FROM label_pairs WHERE was_bot <> is_bot
    GROUP BY is_bot, user_agent, rule_before, rule_after
    QUALIFY row_number() OVER (
        PARTITION BY is_bot ORDER BY count(*) DESC, min(label_pairs.event_id)) <= $examples
    ORDER BY direction, events DESC, event_id
"""


def _refuse_unpaired(engine: duckdb.DuckDBPyConnection) -> None:
    unpaired = _count(engine, "is_unpaired")
    if unpaired:
        raise BadInputError(
            f"{unpaired} events stand in only one of the two labelings; compare labelings of the "
            "same snapshot of bronze."
        )


def _count(engine: duckdb.DuckDBPyConnection, condition: str) -> int:
    row = engine.execute(f"SELECT count(*) FILTER ({condition}) FROM label_pairs").fetchone()
    return int(row[0]) if row else 0
