"""Bronze to silver: records become typed, deduplicated, sessionised, labelled and scored events.

Pure SQL on one engine. Silver of dates is a function of their bronze records and of the ids around
them; nothing is added to what was there before. What a record says wrongly becomes null and costs
score; it never costs the record.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import assert_never

import duckdb

from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.engine import sql_text
from pipeline_platform.lake.relations import as_view, unique_name
from pipeline_platform.web_events import access_logs, event_lines, urls
from pipeline_platform.web_events.agent_facts import (
    agent_facts,
    agent_key_sql,
    agents_in,
    facts_of,
)
from pipeline_platform.web_events.bot_behaviour import (
    BehaviourLimits,
    behaviour_bots,
    label_version,
)
from pipeline_platform.web_events.bots import BotList
from pipeline_platform.web_events.duplicates import (
    KEYS,
    outdated_days,
    related_records,
    surplus_records,
)
from pipeline_platform.web_events.scoring import score_columns
from pipeline_platform.web_events.sessions import sessions
from pipeline_platform.web_events.sources import (
    TEXTS,
    CombinedLog,
    JsonEvents,
    SourceMapping,
)
from pipeline_platform.web_events.tables import WEB_EVENTS

_GIVEN = {
    name: f"given_{name}"
    for name in (
        *("event_type", "status_code", "response_bytes", "duration_ms", "value", "currency"),
        "properties",
    )
}
LABEL_COLUMNS = ("device_type", "is_bot", "bot_rule_id", "bot_list_version")
SCORE_COLUMNS = ("is_late", "data_quality_score", "score_deductions", "score_version")
"""Columns of WEB_EVENTS that labels and scores are made of."""
SLICE_ROWS = 122_880
"""How many events a stretch of time has that is written in no order: a row group, about."""
_BYTES_BESIDE_RAW = 400
"""What an event takes in memory beyond the bytes of its record, about (measured: 750 of 490)."""
_KEPT = "event_date, event_at, event_id, source, file_name, file_sha256, line_number, received_at"


@dataclass(frozen=True)
class Reading:
    """How the runbook wants records read; see the rulings of the same names."""

    sources: Mapping[str, SourceMapping]
    bot_list: BotList
    behaviour: BehaviourLimits
    session_minutes: int
    late_after_hours: int
    deduplication_days: int
    score: Mapping[str, float]
    known_event_types: Sequence[str]


@dataclass(frozen=True)
class Surroundings:
    """What is known of some dates and the days around them; see `duplicates`.

    `neighbours` are bronze records (KEYS) of other days, `published` the dates' present rows of
    silver, `published_neighbours` those of the other days.
    """

    neighbours: duckdb.DuckDBPyRelation
    published: duckdb.DuckDBPyRelation
    published_neighbours: duckdb.DuckDBPyRelation


@dataclass(frozen=True)
class Slice:
    """The SQL condition of a stretch of time, and how many bytes its events take in memory."""

    condition: str
    bytes: int


@dataclass(frozen=True)
class Normalised:
    """Candidates for silver, what became of the records, and days that must be worked on again.

    `slices` together name all events, in order of date and time; each has about as many as a row
    group. `counts`: file_sha256, event_date, arrived, deduplicated.
    """

    events: duckdb.DuckDBPyRelation
    slices: Sequence[Slice]
    counts: duckdb.DuckDBPyRelation
    outdated_days: Sequence[date]


def normalise(
    engine: duckdb.DuckDBPyConnection,
    bronze: duckdb.DuckDBPyRelation,
    dates: Sequence[date],
    around: Surroundings,
    reading: Reading,
    *,
    slice_rows: int = SLICE_ROWS,
) -> Normalised:
    """Return the events of consecutive dates from their bronze records (columns of RAW_EVENTS).

    `slice_rows` is how many events a slice is to have. Raises NotFoundError if a record's source
    has no mapping any more.
    """
    present = [name for (name,) in bronze.project("source").distinct().fetchall()]
    typed = _table(engine, typed_records(engine, bronze, present, reading), "typed")
    arrived = _table(
        engine,
        engine.table(typed).aggregate(
            "file_sha256, event_date, count(*) AS arrived", "file_sha256, event_date"
        ),
        "arrived",
    )
    keys = engine.sql(f"SELECT {KEYS} FROM {typed}")
    related = engine.table(
        _table(
            engine, related_records(engine, keys, around.neighbours, around.published), "related"
        )
    )
    surplus = _table(
        engine,
        surplus_records(engine, keys.union(related), reading.deduplication_days),
        "surplus",
    )
    engine.execute(
        f"DELETE FROM {typed} WHERE (file_sha256, line_number) IN"
        f" (SELECT (file_sha256, line_number) FROM {surplus})"
    )
    return Normalised(
        events=labelled_events(engine, typed, reading),
        slices=_slices(engine, typed, slice_rows),
        counts=engine.sql(
            f"""
            SELECT file_sha256, event_date, any_value(arrived) AS arrived,
                count(surplus.line_number) AS deduplicated
            FROM {arrived} LEFT JOIN {surplus} AS surplus USING (file_sha256, event_date)
            GROUP BY file_sha256, event_date
            """
        ),
        outdated_days=outdated_days(
            engine,
            related,
            engine.table(surplus),
            around.published_neighbours,
            dates,
            reading.deduplication_days,
        ),
    )


def typed_records(
    engine: duckdb.DuckDBPyConnection,
    bronze: duckdb.DuckDBPyRelation,
    present: Sequence[str],
    reading: Reading,
) -> duckdb.DuckDBPyRelation:
    """Return the records with typed columns, parts of addresses, lateness and score.

    `present` names the sources that the records (columns of RAW_EVENTS) come from.
    """
    records = as_view(bronze, "records")
    texts = [_texts(_mapping(name, reading), records) for name in sorted(present)]
    if not texts:
        texts = [_texts(one, records) for one in reading.sources.values()][:1]
    late_after_us = reading.late_after_hours * 3_600_000_000
    return engine.sql(
        f"""
        WITH given AS ({" UNION ALL BY NAME ".join(texts)}),
        typed AS (
            SELECT * EXCLUDE (url, referrer, untaken, given_properties, default_type,
                    default_currency),
                coalesce(lower(trim(given_event_type)), default_type, 'unknown') AS event_type,
                {_number("given_status_code", "INTEGER", "BETWEEN 100 AND 599")} AS status_code,
                {_number("given_response_bytes", "BIGINT", ">= 0")} AS response_bytes,
                {_number("given_duration_ms", "DOUBLE", ">= 0")} AS duration_ms,
                {_amount("given_value")} AS value,
                CASE WHEN regexp_full_match(given_currency, '[A-Za-z]{{3}}')
                        THEN upper(given_currency)
                    WHEN given_currency IS NULL AND given_value IS NOT NULL
                        THEN default_currency END AS currency,
                url, referrer, {urls.plain_url_parts("url")} AS plain,
                {urls.referrer_host("referrer")} AS referrer_host,
                epoch_us(received_at) - epoch_us(event_at) > {late_after_us} AS is_late,
                {_properties()} AS properties
            FROM given
        ),
        parted AS (
            SELECT * EXCLUDE (plain), {urls.url_parts("url", "plain")} AS part FROM typed
        ),
        located AS (
            SELECT * EXCLUDE (part), nullif(lower(part.scheme), '') AS url_scheme,
                nullif(lower(part.host), '') AS url_host,
                coalesce(nullif(part.path, ''), CASE WHEN part.host <> '' THEN '/' END) AS url_path,
                nullif(part.query, '') AS url_query,
                CASE WHEN contains(part.query, '{urls.CAMPAIGN_PREFIX}') THEN part.query END
                    AS campaign_query,
                CASE WHEN anonymous_id IS NOT NULL THEN anonymous_id
                    WHEN user_id IS NOT NULL THEN user_id
                    WHEN client_address IS NULL AND user_agent IS NULL
                        THEN left(sha256(event_id), 16)
                    ELSE left(sha256(concat_ws(' ', client_address, user_agent)), 16)
                END AS visitor_id
            FROM parted
        ),
        campaigns AS (
            SELECT * EXCLUDE (campaign_query), {
            ", ".join(
                f"{urls.campaign_parameter('campaign_query', name)} AS {name}"
                for name in urls.CAMPAIGN_PARAMETERS
            )
        }
            FROM located
        )
        SELECT * EXCLUDE (has_own_id, anonymous_id, given_event_id,
                given_event_type, given_status_code, given_response_bytes, given_duration_ms,
                given_value, given_currency),
            {urls.traffic_channel()} AS traffic_channel,
            {score_columns(reading.score, reading.known_event_types)}
        FROM campaigns
        """
    )


def _texts(mapping: SourceMapping, records: str) -> str:
    """Return the query for the texts of one source's records, an empty one as null."""
    of_source = (
        f"(SELECT {_KEPT}, raw, strlen(raw) AS record_bytes"
        f" FROM {records} WHERE source = {sql_text(mapping.source)})"
    )
    match mapping.format:
        case JsonEvents() as layout:
            found = event_lines.fields(layout, of_source)
        case CombinedLog() as layout:
            found = access_logs.fields(layout, of_source)
        case never:
            assert_never(never)
    selected = [f"nullif({name}, '') AS {_GIVEN.get(name, name)}" for name in TEXTS]
    defaults = {
        "default_type": mapping.defaults.get("event_type"),
        "default_currency": mapping.defaults.get("currency"),
    }
    selected += [
        f"CAST({sql_text(text) if text else 'NULL'} AS VARCHAR) AS {name}"
        for name, text in defaults.items()
    ]
    return (
        f"SELECT {_KEPT}, record_bytes, {', '.join(selected)}, given_event_id, has_own_id, untaken"
        f" FROM ({found})"
    )


def _number(text: str, kind: str, condition: str) -> str:
    """Return a text as a number, null if it is none or breaks the condition."""
    number = f"TRY_CAST({text} AS {kind})"
    return f"CASE WHEN {number} {condition} THEN {number} END"


def _amount(text: str) -> str:
    """Return a text as an amount; what fits into 64 bits is read several times faster."""
    return (
        f"coalesce(CAST(TRY_CAST({text} AS DECIMAL(18, 4)) AS DECIMAL(20, 4)),"
        f" TRY_CAST({text} AS DECIMAL(20, 4)))"
    )


def _properties() -> str:
    """Return the JSON object of all that no column takes: the source's own, and unknown keys."""
    own = """
        CASE WHEN given_properties IS NULL OR given_properties = '{}' THEN '{}'
            WHEN starts_with(given_properties, '{') THEN given_properties
            ELSE '{"properties":' || to_json(given_properties) || '}' END
    """
    return f"""
        CASE WHEN untaken = '{{}}' THEN {own}
            WHEN {own} = '{{}}' THEN untaken
            ELSE substr({own}, 1, length({own}) - 1) || ',' || substr(untaken, 2) END
    """


def label_events(
    engine: duckdb.DuckDBPyConnection, events: duckdb.DuckDBPyRelation, reading: Reading
) -> duckdb.DuckDBPyRelation:
    """Return events with LABEL_COLUMNS, by agent and behaviour (SW-30).

    `events` has user_agent, event_date, visitor_id, event_at, source, url_path, referrer and
    status_code, and none of the columns that are added.
    """
    given = as_view(events, "unlabelled")
    facts = agent_facts(engine, engine.table(given), reading.bot_list)
    joins = _label_joins(engine, given, facts, reading)
    return engine.sql(f"SELECT event.*, {_labels(reading)} FROM {given} AS event {joins}")


def score_records(
    engine: duckdb.DuckDBPyConnection, bronze: duckdb.DuckDBPyRelation, reading: Reading
) -> duckdb.DuckDBPyRelation:
    """Return file_sha256, line_number and SCORE_COLUMNS of bronze records (SW-31).

    Raises NotFoundError if a record's source has no mapping any more.
    """
    columns = ", ".join(("file_sha256", "line_number", *SCORE_COLUMNS))
    present = [name for (name,) in bronze.project("source").distinct().fetchall()]
    return typed_records(engine, bronze, present, reading).project(columns)


def labelled_events(
    engine: duckdb.DuckDBPyConnection, typed: str, reading: Reading
) -> duckdb.DuckDBPyRelation:
    """Return the columns of WEB_EVENTS: the table of typed records that count, with their labels.

    Labels are sessions, agents and bots. Read slice by slice, they cost no more than all at once.
    """
    numbered = as_view(engine.sql(f"SELECT rowid AS event_number, * FROM {typed}"), "numbered")
    # Agents are read by Python, in one thread, and sessions are found by DuckDB meanwhile.
    with ThreadPoolExecutor(1, thread_name_prefix="agents") as thread:
        facts = thread.submit(facts_of, agents_in(engine.table(typed)), reading.bot_list)
        session = _table(
            engine, sessions(engine, engine.table(numbered), reading.session_minutes), "session"
        )
    joins = _label_joins(engine, numbered, engine.from_arrow(facts.result()), reading)
    # Every event has a session; an outer join makes the narrow side the one that is kept in memory.
    return engine.sql(
        f"""
        SELECT {", ".join(WEB_EVENTS.schema.names)} FROM (
            SELECT event.*, session.session_id, session.session_event_number,
                facts.browser, facts.browser_version, facts.operating_system, {_labels(reading)}
            FROM {numbered} AS event
            LEFT JOIN {session} AS session USING (event_date, event_at, event_number)
            {joins}
        )
        """
    )


def _labels(reading: Reading) -> str:
    """Return the SQL of LABEL_COLUMNS over the relations that `_label_joins` joins."""
    return f"""
        facts.device_type,
        facts.is_bot OR (facts.bot_rule_id IS NULL AND behaviour.bot_rule_id IS NOT NULL)
            AS is_bot,
        coalesce(facts.bot_rule_id, behaviour.bot_rule_id) AS bot_rule_id,
        '{label_version(reading.bot_list, reading.behaviour)}' AS bot_list_version
    """


def _label_joins(
    engine: duckdb.DuckDBPyConnection,
    events: str,
    facts: duckdb.DuckDBPyRelation,
    reading: Reading,
) -> str:
    """Return the joins of `event` with what its agent says and how its visitor behaves."""
    key = agent_key_sql("event.user_agent")
    of_agent = f"JOIN {as_view(facts, 'facts')} AS facts ON facts.agent_key = {key}"
    labelled = engine.sql(
        f"""
        SELECT event_date, visitor_id, event_at, source, url_path, referrer, status_code,
            facts.is_bot, facts.bot_rule_id
        FROM {events} AS event {of_agent}
        """
    )
    behaviour = _table(
        engine,
        behaviour_bots(
            engine,
            labelled,
            limits=reading.behaviour,
            asset_logging_sources=[
                one.source for one in reading.sources.values() if one.logs_assets
            ],
        ),
        "behaviour",
    )
    return f"{of_agent} LEFT JOIN {behaviour} AS behaviour USING (event_date, visitor_id)"


def _slices(engine: duckdb.DuckDBPyConnection, typed: str, rows: int) -> list[Slice]:
    """Cut a table of typed records by event_date and event_at into about so many rows each.

    A cut lies between minutes, so a slice may have the events of one minute more.
    """
    found = engine.sql(
        f"""
        WITH minutes AS (
            SELECT event_date, epoch_us(event_at) // 60000000 AS minute, count(*) AS events,
                sum(record_bytes + {_BYTES_BESIDE_RAW}) AS bytes
            FROM {typed} GROUP BY ALL
        ),
        numbered AS (
            SELECT event_date, minute, bytes, (sum(events) OVER (
                PARTITION BY event_date ORDER BY minute) - events) // {rows} AS slice
            FROM minutes
        ),
        slices AS (
            SELECT event_date, min(minute) AS first, sum(bytes)::BIGINT AS bytes
            FROM numbered GROUP BY event_date, slice
        )
        SELECT event_date, bytes,
            CAST(make_timestamptz(nullif(first, min(first) OVER day) * 60000000) AS VARCHAR),
            CAST(make_timestamptz(lead(first) OVER day * 60000000) AS VARCHAR)
        FROM slices WINDOW day AS (PARTITION BY event_date ORDER BY first)
        ORDER BY event_date, first
        """
    ).fetchall()
    slices = []
    for day, size, begin, end in found:
        parts = [f"event_date = DATE '{day}'"]
        parts += [f"event_at >= TIMESTAMPTZ '{begin}'"] if begin else []
        parts += [f"event_at < TIMESTAMPTZ '{end}'"] if end else []
        slices.append(Slice(" AND ".join(parts), size))
    return slices


def _mapping(source: str, reading: Reading) -> SourceMapping:
    if source not in reading.sources:
        raise NotFoundError(
            f"Bronze has records of the source {source}, which no file of sources/ describes any "
            "more; bring its mapping back."
        )
    return reading.sources[source]


def _table(engine: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, purpose: str) -> str:
    """Keep rows in a temporary table, which spills to disk like everything else."""
    name = unique_name(purpose)
    engine.execute(f"CREATE TEMP TABLE {name} AS FROM {as_view(rows)}")
    return name
