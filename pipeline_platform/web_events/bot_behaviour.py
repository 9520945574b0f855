"""Bots that behave like one although their agent does not say so (SW-30): SQL over dates.

Both rules look at page requests: events whose path is not that of an asset (style sheet, script,
image, font). They are careful, because many people may share an address and an agent (an office
behind one router, a mobile network), and so a visitor:

- `behaviour/request-rate`: more than `max_pages_per_minute` page requests in each of at least
  `fast_minutes` minutes of the date. One burst, such as opening many tabs or one office's morning,
  is no bot.
- `behaviour/no-assets`: at least `min_pages_without_assets` pages answered (status 2xx), not one
  asset asked for, and no referrer on any request. Only in sources that log assets, such as access
  logs: a page's own analytics beacons, or the calls of a single-page application, never name one.
  The minimum spares people whose browser has the assets in its cache.

Only events that are no bot's and no friend's by their agent are looked at, so the order of
precedence is: friend, agent, behaviour. A visitor that breaks both rules gets the first.
"""

import hashlib
from collections.abc import Collection
from dataclasses import astuple, dataclass

import duckdb

from pipeline_platform.lake.engine import sql_text
from pipeline_platform.lake.relations import as_view
from pipeline_platform.web_events.bots import BotList

REQUEST_RATE = "behaviour/request-rate"
NO_ASSETS = "behaviour/no-assets"
ASSET_PATH = (
    r"(?i)\.(css|js|mjs|map|png|jpe?g|gif|svg|webp|avif|ico|bmp|woff2?|ttf|otf|eot|mp4|webm|mp3)$"
)


@dataclass(frozen=True)
class BehaviourLimits:
    """The runbook's limits; the module says what they mean."""

    max_pages_per_minute: int = 60
    fast_minutes: int = 3
    min_pages_without_assets: int = 10


def behaviour_bots(
    engine: duckdb.DuckDBPyConnection,
    events: duckdb.DuckDBPyRelation,
    *,
    limits: BehaviourLimits,
    asset_logging_sources: Collection[str],
) -> duckdb.DuckDBPyRelation:
    """Return (event_date, visitor_id, bot_rule_id) of visitors that behave like a bot on a date.

    `events` has event_date, visitor_id, event_at, source, url_path, referrer, status_code, is_bot
    and bot_rule_id, the last two as their agent gives them. `asset_logging_sources` names the
    sources whose events hold assets too. The rule is for those of the visitor's events that have
    none yet: with `LEFT JOIN behaviour USING (visitor_id)`, the label of an event is
    `coalesce(events.bot_rule_id, behaviour.bot_rule_id)`, and it is a bot's when
    `is_bot OR (events.bot_rule_id IS NULL AND behaviour.bot_rule_id IS NOT NULL)`.
    """
    sources = ", ".join(sql_text(name) for name in sorted(asset_logging_sources)) or "NULL"
    return engine.from_query(
        f"""
        WITH judged AS (
            SELECT event_date, visitor_id, event_at,
                coalesce(regexp_matches(url_path, {sql_text(ASSET_PATH)}), false) AS is_asset,
                coalesce(referrer, '') NOT IN ('', '-') AS has_referrer,
                coalesce(source IN ({sources}), false) AS logs_assets,
                coalesce(status_code BETWEEN 200 AND 299, true) AS is_answered
            FROM {as_view(events)}
            WHERE NOT is_bot AND bot_rule_id IS NULL
        ),
        visitors AS (
            SELECT event_date, visitor_id, count(*) FILTER (NOT is_asset) AS pages,
                count(*) FILTER (NOT is_asset AND logs_assets AND is_answered) AS answered_pages,
                bool_or(is_asset OR has_referrer) AS is_browser_like
            FROM judged
            GROUP BY event_date, visitor_id
        ),
        busy AS (
            SELECT event_date, visitor_id FROM visitors
            WHERE pages > {limits.max_pages_per_minute * limits.fast_minutes}
        ),
        minutes AS (
            SELECT event_date, visitor_id FROM judged SEMI JOIN busy USING (event_date, visitor_id)
            WHERE NOT is_asset
            GROUP BY event_date, visitor_id, date_trunc('minute', event_at)
            HAVING count(*) > {limits.max_pages_per_minute}
        ),
        fast AS (
            SELECT event_date, visitor_id FROM minutes
            GROUP BY event_date, visitor_id HAVING count(*) >= {limits.fast_minutes}
        )
        SELECT event_date, visitor_id, '{REQUEST_RATE}' AS bot_rule_id FROM fast
        UNION ALL
        SELECT event_date, visitor_id, '{NO_ASSETS}'
        FROM visitors ANTI JOIN fast USING (event_date, visitor_id)
        WHERE answered_pages >= {limits.min_pages_without_assets} AND NOT is_browser_like
        """
    )


def label_version(bot_list: BotList, limits: BehaviourLimits) -> str:
    """Return the `bot_list_version` of rows that agents and behaviour label together."""
    told = f"{bot_list.version} {ASSET_PATH} {astuple(limits)}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]
