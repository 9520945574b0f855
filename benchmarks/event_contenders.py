"""Bare engines that make events out of NDJSON, as one would write it there, and what they made.

Bare DuckDB runs the very SQL of our bronze and silver. Polars and pandas make the same columns of
silver, each in its own way: provenance, labels by behaviour and the words of the score as well;
amounts are doubles. None of them keeps what it read, knows of other deliveries, audits or
publishes: each leaves one Parquet file. All read agents with our functions, once for each distinct
one.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlsplit

import duckdb

from benchmarks.event_delivery import Delivery
from pipeline_platform.web_events.bot_behaviour import ASSET_PATH, NO_ASSETS, REQUEST_RATE

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from pipeline_platform.web_events.normalisation import Reading

SOURCE = "standard_events"
SEARCH = r"(^|\.)(google|bing|duckduckgo|yandex|ecosia)\."
SOCIAL = r"(^|\.)(t\.co|twitter\.com|x\.com|facebook\.com|instagram\.com|reddit\.com)$"
MAIL = r"^(mail\.|outlook\.)"
CAMPAIGN_COLUMNS = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
SESSION_MINUTES = 30
LATE_HOURS = 24
THREADS = 2
Maker = Callable[[Sequence[Delivery], Path, "Reading"], None]

_SUMMARY = """
    SELECT count(*) AS events, count(DISTINCT event_id) AS ids,
        count(DISTINCT event_date) AS days, CAST(sum(epoch_ms(event_at) // 1000) AS VARCHAR) AS at,
        count(DISTINCT event_type) AS types, count(user_id) AS user_ids,
        count(DISTINCT visitor_id) AS visitors, count(DISTINCT session_id) AS sessions,
        CAST(sum(session_event_number) AS BIGINT) AS session_numbers,
        CAST(sum(status_code) AS BIGINT) AS status_codes,
        CAST(sum(response_bytes) AS BIGINT) AS response_bytes,
        CAST(round(sum(duration_ms)) AS BIGINT) AS duration_ms,
        CAST(CAST(sum(value) AS DECIMAL(20, 2)) AS VARCHAR) AS value, count(currency) AS currencies,
        count(DISTINCT url) AS urls, count(DISTINCT url_host) AS hosts,
        count(DISTINCT url_path) AS paths, count(DISTINCT url_query) AS queries,
        count(DISTINCT referrer_host) AS referrers, count(DISTINCT utm_campaign) AS campaigns,
        count(utm_source) AS utm_sources, count_if(traffic_channel = 'internal') AS internal,
        count_if(traffic_channel = 'search') AS search,
        count_if(traffic_channel = 'campaign') AS campaign,
        count(DISTINCT user_agent) AS agents, count(DISTINCT browser) AS browsers,
        count(DISTINCT device_type) AS devices, count_if(is_bot) AS bots,
        count(bot_rule_id) AS bot_rules, count(DISTINCT bot_list_version) AS bot_lists,
        count_if(is_late) AS late, CAST(round(sum(data_quality_score)) AS BIGINT) AS score,
        count(DISTINCT score_deductions) AS deductions,
        CAST(sum(length(score_deductions)) AS BIGINT) AS deduction_words,
        count(DISTINCT file_name) AS files, count(DISTINCT file_sha256) AS contents,
        count(DISTINCT received_at) AS arrivals,
        CAST(sum(length(properties)) AS BIGINT) AS properties
    FROM events
"""


def summary(events: duckdb.DuckDBPyRelation) -> dict[str, Any]:
    """Return counts and sums that equal results share."""
    found = events.query("events", _SUMMARY)
    (row,) = found.fetchall()
    return dict(zip(found.columns, row, strict=True))


def bare_duckdb(deliveries: Sequence[Delivery], target: Path, reading: "Reading") -> None:
    """Run our SQL from the lines of the files to one Parquet file."""
    from pipeline_platform.lake.relations import as_view
    from pipeline_platform.web_events.bronze_events import Provenance, judged_records
    from pipeline_platform.web_events.duplicates import KEYS, surplus_records
    from pipeline_platform.web_events.normalisation import labelled_events, typed_records

    with duckdb.connect(config={"threads": THREADS}) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute("SET preserve_insertion_order = false")
        engine.execute("CREATE SEQUENCE line_numbers")
        bronze = None
        for delivery in deliveries:
            lines = engine.sql(
                f"""
                SELECT nextval('line_numbers') AS line_number, raw
                FROM read_csv('{delivery.path}', columns = {{'raw': 'VARCHAR'}}, header = false,
                    auto_detect = false, delim = '\x01', quote = '', escape = '')
                """
            )
            name = delivery.path.name
            judged = judged_records(
                engine,
                lines,
                reading.sources[SOURCE],
                Provenance(name, name, delivery.received_at),
                max_future=timedelta(days=1),
            ).filter("rule IS NULL")
            bronze = judged if bronze is None else bronze.union(judged)
        if bronze is None:
            raise ValueError("There is no delivery.")
        typed = as_view(typed_records(engine, bronze, [SOURCE], reading))
        engine.execute(f"CREATE TABLE typed AS FROM {typed}")
        keys = engine.table("typed").project(KEYS)
        surplus = as_view(surplus_records(engine, keys, reading.deduplication_days))
        engine.execute(
            f"DELETE FROM typed WHERE line_number IN (SELECT line_number FROM {surplus})"
        )
        events = as_view(labelled_events(engine, "typed", reading))
        engine.execute(f"COPY (FROM {events}) TO '{target}' (COMPRESSION zstd)")


def bare_polars(deliveries: Sequence[Delivery], target: Path, reading: "Reading") -> None:
    """Decode lines into a struct of known keys; all else are expressions."""
    import polars as pl

    text = pl.String
    record = pl.Struct(
        {
            **dict.fromkeys(
                ("event_id", "event_type", "event_time", "user_id", "anonymous_id", "url"), text
            ),
            **dict.fromkeys(("referrer", "user_agent", "ip", "http_method", "currency"), text),
            "status_code": pl.Int32,
            "response_bytes": pl.Int64,
            "duration_ms": pl.Float64,
            "value": pl.Float64,
            "properties": pl.Struct({"step": pl.Int64, "variant": text}),
        }
    )
    read = [
        pl.scan_lines(str(one.path), name="raw")
        .with_row_index("line_number", 1)
        .filter(pl.col("raw").str.ends_with("}"))
        .select("line_number", pl.col("raw").str.json_decode(record).alias("record"))
        .unnest("record")
        .with_columns(**{name: pl.lit(value) for name, value in _provenance(one).items()})
        .with_columns(pl.col("received_at").dt.convert_time_zone("UTC"))
        for one in deliveries
    ]
    events = (
        pl.concat(read)
        .with_columns(
            event_at=pl.col("event_time")
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
            .dt.replace_time_zone("UTC"),
            event_type=pl.col("event_type").str.to_lowercase(),
            properties=pl.col("properties").struct.json_encode(),
        )
        .filter(pl.col("event_at").is_not_null() & pl.col("event_id").is_not_null())
        .sort("received_at", maintain_order=True)
        .unique("event_id", keep="first", maintain_order=True)
        .collect()
    )
    parts = pl.col("url").str.extract_groups(r"^([^:/]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
    events = (
        events.with_columns(parts.struct.rename_fields(["scheme", "host", "path", "query"]))
        .with_columns(
            event_date=pl.col("event_at").dt.date(),
            url_scheme=pl.col("url").struct.field("scheme"),
            url_host=pl.col("url").struct.field("host").str.to_lowercase(),
            url_path=pl.col("url").struct.field("path"),
            url_query=pl.col("url").struct.field("query"),
            url=events["url"],
            referrer_host=pl.col("referrer").str.extract(r"^[^:/]+://([^/?#]*)").str.to_lowercase(),
            visitor_id=pl.coalesce(
                "anonymous_id",
                "user_id",
                pl.concat_str("ip", "user_agent", separator=" ").hash().cast(text),
            ),
        )
        .with_columns(
            pl.col("url_query").str.extract(rf"(?:^|&){name}=([^&]*)").alias(name)
            for name in CAMPAIGN_COLUMNS
        )
    )
    for name in CAMPAIGN_COLUMNS:
        given = events[name].drop_nulls().unique().to_list()
        decoded = [unquote_plus(one) for one in given]
        events = events.with_columns(pl.col(name).replace_strict(given, decoded, default=None))
    agents = events["user_agent"].unique().to_list()
    events = events.join(
        pl.DataFrame(_agents(agents, reading)), on="user_agent", nulls_equal=True
    ).with_columns(
        traffic_channel=_polars_channel(),
        is_late=pl.col("received_at") - pl.col("event_at") > timedelta(hours=LATE_HOURS),
    )
    events = (
        _polars_behaviour(events, reading)
        .sort("event_date", "visitor_id", "event_at", "event_id")
        .with_columns(
            is_start=(
                pl.col("event_at").diff().over("event_date", "visitor_id")
                > timedelta(minutes=SESSION_MINUTES)
            ).fill_null(value=True)
        )
        .with_columns(session=pl.col("is_start").cum_sum())
        .with_columns(
            session_id=pl.col("visitor_id")
            + "-"
            + pl.col("event_at").first().over("session").dt.epoch("us").cast(text),
            session_event_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("session"),
            **{name: pl.lit(value) for name, value in _constants(reading).items()},
        )
    )
    _polars_score(events, reading).drop(
        "event_time", "is_start", "session", "anonymous_id"
    ).write_parquet(target, compression="zstd")


def _polars_channel() -> "pl.Expr":
    import polars as pl

    medium, host = pl.col("utm_medium").str.to_lowercase(), pl.col("referrer_host")
    return (
        pl.when(medium.is_in(["email", "e-mail", "newsletter"]))
        .then(pl.lit("email"))
        .when(medium.is_in(["social", "social-media"]))
        .then(pl.lit("social"))
        .when(medium == "organic")
        .then(pl.lit("search"))
        .when(medium.is_not_null() | pl.col("utm_source").is_not_null())
        .then(pl.lit("campaign"))
        .when(pl.col("referrer").is_null())
        .then(pl.lit("direct"))
        .when(host.is_null())
        .then(pl.lit("unknown"))
        .when(host.str.strip_prefix("www.") == pl.col("url_host").str.strip_prefix("www."))
        .then(pl.lit("internal"))
        .when(host.str.contains(MAIL))
        .then(pl.lit("email"))
        .when(host.str.contains(SEARCH))
        .then(pl.lit("search"))
        .when(host.str.contains(SOCIAL))
        .then(pl.lit("social"))
        .otherwise(pl.lit("referral"))
    )


def _polars_behaviour(events: "pl.DataFrame", reading: "Reading") -> "pl.DataFrame":
    """Label visitors of a date that behave like a bot; see `web_events.bot_behaviour`."""
    import polars as pl

    limits, visitor = reading.behaviour, ["event_date", "visitor_id"]
    is_asset = pl.col("url_path").str.contains(ASSET_PATH).fill_null(value=False)
    people = events.filter(~pl.col("is_bot") & pl.col("bot_rule_id").is_null()).select(
        *visitor,
        "event_at",
        is_page=~is_asset,
        is_answered=pl.col("status_code").is_between(200, 299).fill_null(value=True)
        & pl.lit(reading.sources[SOURCE].logs_assets),
        is_browser_like=is_asset | ~pl.col("referrer").fill_null("").is_in(["", "-"]),
    )
    visitors = people.group_by(visitor).agg(
        pages=pl.col("is_page").sum(),
        answered=(pl.col("is_page") & pl.col("is_answered")).sum(),
        is_browser_like=pl.col("is_browser_like").any(),
    )
    busy = visitors.filter(pl.col("pages") > limits.max_pages_per_minute * limits.fast_minutes)
    fast = (
        people.filter("is_page")
        .join(busy, on=visitor, how="semi")
        .group_by(*visitor, pl.col("event_at").dt.truncate("1m"))
        .len()
        .filter(pl.col("len") > limits.max_pages_per_minute)
        .group_by(visitor)
        .len()
        .filter(pl.col("len") >= limits.fast_minutes)
        .select(*visitor, behaviour=pl.lit(REQUEST_RATE))
    )
    alone = (
        visitors.filter(
            (pl.col("answered") >= limits.min_pages_without_assets) & ~pl.col("is_browser_like")
        )
        .join(fast, on=visitor, how="anti")
        .select(*visitor, behaviour=pl.lit(NO_ASSETS))
    )
    return (
        events.join(pl.concat([fast, alone]), on=visitor, how="left")
        .with_columns(
            is_bot=pl.col("is_bot")
            | (pl.col("bot_rule_id").is_null() & pl.col("behaviour").is_not_null()),
            bot_rule_id=pl.coalesce("bot_rule_id", "behaviour"),
        )
        .drop("behaviour")
    )


def _polars_score(events: "pl.DataFrame", reading: "Reading") -> "pl.DataFrame":
    """Add data_quality_score and score_deductions, found once for each set of broken rules."""
    import polars as pl

    def missing(name: str) -> pl.Expr:
        return pl.col(name).is_null()

    broken = {
        "missing_event_type": missing("event_type"),
        "unknown_event_type": ~pl.col("event_type").is_in(list(reading.known_event_types)),
        "missing_user_agent": missing("user_agent"),
        "missing_client_address": missing("ip"),
        "missing_url": missing("url"),
        "unreadable_url": ~missing("url") & missing("url_path"),
        "value_without_currency": ~missing("value") & missing("currency"),
        "late": pl.col("is_late"),
        "clock_ahead": pl.col("event_at") > pl.col("received_at"),
    }
    bits = [
        pl.when(condition).then(pl.lit(1 << bit)).otherwise(pl.lit(0))
        for bit, condition in enumerate(broken.values())
    ]
    events = events.with_columns(code=pl.sum_horizontal(bits))
    codes = events["code"].unique().to_list()
    scores, words = zip(*(_told(code, [*broken], reading) for code in codes), strict=True)
    return events.with_columns(
        data_quality_score=pl.col("code").replace_strict(codes, scores),
        score_deductions=pl.col("code").replace_strict(codes, words),
    ).drop("code")


def bare_pandas(deliveries: Sequence[Delivery], target: Path, reading: "Reading") -> None:
    """Read line by line, because one bad line ends `read_json`; then work with columns."""
    import pandas as pd

    events = pd.concat([_pandas_records(one) for one in deliveries], ignore_index=True)
    events["event_at"] = pd.to_datetime(
        events["event_time"], format="ISO8601", errors="coerce", utc=True
    )
    events = events.dropna(subset=["event_at", "event_id"]).drop_duplicates("event_id")
    events["event_date"] = events["event_at"].dt.date
    events["event_type"] = events["event_type"].str.lower()
    events["properties"] = events["properties"].map(_compact_json)
    urls = {url: _url_columns(url) for url in events["url"].unique()}
    columns = pd.DataFrame.from_dict(urls, orient="index")
    events = events.join(columns, on="url")
    hosts = {one: urlsplit(one).hostname for one in events["referrer"].dropna().unique()}
    events["referrer_host"] = events["referrer"].map(hosts)
    agents = events["user_agent"].dropna().unique().tolist()
    facts = pd.DataFrame(_agents(agents, reading)).set_index("user_agent")
    events = events.join(facts, on="user_agent")
    events["is_late"] = events["received_at"] - events["event_at"] > pd.Timedelta(hours=LATE_HOURS)
    unnamed = events["anonymous_id"].fillna(events["user_id"]).isna()
    known = events["anonymous_id"].fillna(events["user_id"])
    pairs = events.loc[unnamed, "ip"] + " " + events.loc[unnamed, "user_agent"]
    hashed = {one: hashlib.sha256(one.encode()).hexdigest()[:16] for one in pairs.unique()}
    events["visitor_id"] = known.where(~unnamed, pairs.map(hashed))
    events["traffic_channel"] = _pandas_channel(events)
    events = _pandas_behaviour(events, reading)
    events = events.sort_values(["event_date", "visitor_id", "event_at", "event_id"])
    visits = events.groupby(["event_date", "visitor_id"], sort=False)["event_at"]
    pause = visits.diff()
    session = (pause.isna() | (pause > pd.Timedelta(minutes=SESSION_MINUTES))).cumsum()
    by_session = events.groupby(session, sort=False)["event_at"]
    started = by_session.transform("first").astype("datetime64[us, UTC]").astype("int64")
    events["session_id"] = events["visitor_id"] + "-" + started.astype(str)
    events["session_event_number"] = by_session.cumcount() + 1
    _pandas_score(events, reading)
    events = events.assign(**_constants(reading))
    events.drop(columns=["event_time", "anonymous_id"]).to_parquet(
        target, compression="zstd", index=False
    )


def _pandas_records(delivery: Delivery) -> "pd.DataFrame":
    import pandas as pd

    records = []
    with delivery.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            record["line_number"] = number
            records.append(record)
    return pd.DataFrame(records).assign(**_provenance(delivery))


def _provenance(delivery: Delivery) -> dict[str, Any]:
    with delivery.path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    name = delivery.path.name
    return {"file_name": name, "file_sha256": sha256, "received_at": delivery.received_at}


def _constants(reading: "Reading") -> dict[str, str]:
    """Return the columns of silver that are the same in every row."""
    from pipeline_platform.web_events.bot_behaviour import label_version
    from pipeline_platform.web_events.scoring import score_version

    return {
        "source": SOURCE,
        "bot_list_version": label_version(reading.bot_list, reading.behaviour),
        "score_version": score_version(reading.score, reading.known_event_types),
    }


def _pandas_behaviour(events: "pd.DataFrame", reading: "Reading") -> "pd.DataFrame":
    """Label visitors of a date that behave like a bot; see `web_events.bot_behaviour`."""
    import numpy as np

    limits, visitor = reading.behaviour, ["event_date", "visitor_id"]
    columns = [*visitor, "event_at", "url_path", "referrer", "status_code"]
    people = events.loc[~events["is_bot"] & events["bot_rule_id"].isna(), columns]
    assets = {one: bool(re.search(ASSET_PATH, one)) for one in people["url_path"].unique()}
    is_asset = people["url_path"].map(assets)
    is_answered = people["status_code"].between(200, 299) | people["status_code"].isna()
    people = people.assign(
        pages=~is_asset,
        answered=~is_asset & is_answered & reading.sources[SOURCE].logs_assets,
        is_browser_like=is_asset | ~people["referrer"].fillna("").isin(["", "-"]),
    )
    visitors = people.groupby(visitor, sort=False)[["pages", "answered", "is_browser_like"]].agg(
        {"pages": "sum", "answered": "sum", "is_browser_like": "max"}
    )
    busy = visitors[visitors["pages"] > limits.max_pages_per_minute * limits.fast_minutes]
    pages = people[people["pages"]].join(busy[[]], on=visitor, how="inner")
    minutes = pages.groupby([*visitor, pages["event_at"].dt.floor("min")], sort=False).size()
    fast = minutes[minutes > limits.max_pages_per_minute].groupby(level=[0, 1]).size()
    is_fast = visitors.index.isin(fast[fast >= limits.fast_minutes].index)
    is_alone = (visitors["answered"] >= limits.min_pages_without_assets) & ~visitors[
        "is_browser_like"
    ].astype(bool)
    visitors["behaviour"] = np.select([is_fast, is_alone], [REQUEST_RATE, NO_ASSETS], "")
    found = visitors.loc[visitors["behaviour"] != "", ["behaviour"]]
    events = events.join(found, on=visitor)
    ruled = events["bot_rule_id"].isna() & events["behaviour"].notna()
    events["is_bot"] = events["is_bot"] | ruled
    events["bot_rule_id"] = events["bot_rule_id"].fillna(events.pop("behaviour"))
    return events


def _compact_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _url_columns(url: str) -> dict[str, str | None]:
    parts = urlsplit(url)
    given = dict(part.split("=", 1) for part in parts.query.split("&") if "=" in part)
    return {
        "url_scheme": parts.scheme,
        "url_host": parts.hostname,
        "url_path": parts.path,
        "url_query": parts.query or None,
        **{name: unquote_plus(given[name]) if name in given else None for name in CAMPAIGN_COLUMNS},
    }


def _pandas_channel(events: "pd.DataFrame") -> Any:
    import numpy as np

    medium, host = events["utm_medium"].str.lower(), events["referrer_host"]
    conditions = [
        medium.isin(["email", "e-mail", "newsletter"]),
        medium.isin(["social", "social-media"]),
        medium == "organic",
        medium.notna() | events["utm_source"].notna(),
        events["referrer"].isna(),
        host.isna(),
        host.str.removeprefix("www.") == events["url_host"].str.removeprefix("www."),
        host.str.contains(MAIL.replace("(", "(?:")),
        host.str.contains(SEARCH.replace("(", "(?:")),
        host.str.contains(SOCIAL.replace("(", "(?:")),
    ]
    channels = ["email", "social", "search", "campaign", "direct", "unknown", "internal"]
    channels += ["email", "search", "social"]
    given = [condition.fillna(value=False).astype(bool) for condition in conditions]
    return np.select(given, channels, "referral")


def _pandas_score(events: "pd.DataFrame", reading: "Reading") -> None:
    """Add data_quality_score and score_deductions, found once for each set of broken rules."""
    broken = {
        "missing_event_type": events["event_type"].isna(),
        "unknown_event_type": ~events["event_type"].isin(list(reading.known_event_types)),
        "missing_user_agent": events["user_agent"].isna(),
        "missing_client_address": events["ip"].isna(),
        "missing_url": events["url"].isna(),
        "unreadable_url": events["url"].notna() & events["url_path"].isna(),
        "value_without_currency": events["value"].notna() & events["currency"].isna(),
        "late": events["is_late"],
        "clock_ahead": events["event_at"] > events["received_at"],
    }
    bits = [condition.astype("int64") * (1 << bit) for bit, condition in enumerate(broken.values())]
    codes = sum(bits[1:], bits[0])
    told = {int(code): _told(int(code), [*broken], reading) for code in codes.unique()}
    events["data_quality_score"] = codes.map({code: score for code, (score, _) in told.items()})
    events["score_deductions"] = codes.map({code: words for code, (_, words) in told.items()})


def _told(code: int, rules: Sequence[str], reading: "Reading") -> tuple[float, str]:
    """Return the score of a set of broken rules, given as bits, and its words."""
    costs = {one: reading.score[one] for bit, one in enumerate(rules) if code >> bit & 1}
    return round(1.0 - sum(costs.values()), 6), json.dumps(dict(sorted(costs.items())))


def _agents(agents: Sequence[str], reading: "Reading") -> dict[str, Sequence[object]]:
    """Return what agents say, and which are bots, by column."""
    from pipeline_platform.web_events.bots import judge_agents
    from pipeline_platform.web_events.user_agents import describe_agents

    told = {
        **describe_agents(agents).to_pydict(),
        **judge_agents(agents, reading.bot_list).to_pydict(),
    }
    pairs = zip(told["is_bot"], told["device_type"], strict=True)
    return {**told, "device_type": ["bot" if is_bot else kind for is_bot, kind in pairs]}


CONTENDERS: dict[str, Maker] = {
    "bare_duckdb": bare_duckdb,
    "bare_polars": bare_polars,
    "bare_pandas": bare_pandas,
}
