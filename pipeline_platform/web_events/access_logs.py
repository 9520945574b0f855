"""Access logs in combined or common format as SQL: a line's time, and its fields.

`address ident user [time] "request" status bytes "referrer" "agent"`; what follows is ignored.
"""

from pipeline_platform.lake.engine import sql_text
from pipeline_platform.web_events.bot_behaviour import ASSET_PATH
from pipeline_platform.web_events.sources import CombinedLog

UNREADABLE = ("not_log_format", "The line is not written in the combined log format.")
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = (
    rf"^(\S+) \S+ (?:.*?) \[([^\]]+)\] {_QUOTED} (\d{{3}}|-) (\d+|-)"
    rf"(?: {_QUOTED} {_QUOTED}(?: .*)?)?$"
)
_PARTS = "['address', 'time', 'request', 'status', 'bytes', 'referrer', 'agent']"
_REQUEST = r"^([A-Z]+) (\S+)(?: HTTP/[0-9.]+)?$"


def located(layout: CombinedLog, lines: str) -> str:  # noqa: ARG001 -- one shape for all formats
    """Return the query for event_id and event_at of lines (line_number, raw) of a view.

    A log has no ids: a line is known by its content and by how often it stands in its file.
    `is_readable` is false where the line has another format; `event_time` is the time as text.
    """
    return f"""
        SELECT line_number, raw, event_time <> '' AS is_readable,
            left(sha256(raw), 32) || '-'
                || row_number() OVER (PARTITION BY raw ORDER BY line_number) AS event_id,
            event_time, try_strptime(event_time, '%d/%b/%Y:%H:%M:%S %z') AS event_at
        FROM (
            SELECT line_number, raw, regexp_extract(raw, {sql_text(_LINE)}, 2) AS event_time
            FROM {lines}
        )
    """


def fields(layout: CombinedLog, records: str) -> str:
    """Return the query for every field, as text, of records with a column `raw`; others stay.

    A log's events are `page_view` (a page that was got), `asset` (a style sheet, script, image or
    font) and `request` (anything else).
    """
    return f"""
        SELECT * EXCLUDE (raw, part, method, target),
            CASE WHEN regexp_matches(split_part(target, '?', 1), {sql_text(ASSET_PATH)})
                    THEN 'asset'
                WHEN method = 'GET' AND part.status[1] IN ('2', '3') THEN 'page_view'
                ELSE 'request' END AS event_type,
            CAST(NULL AS VARCHAR) AS user_id, CAST(NULL AS VARCHAR) AS anonymous_id,
            {_given("part.address")} AS client_address, {_given("part.agent")} AS user_agent,
            {_given("method")} AS http_method, {_given("part.status")} AS status_code,
            {_given("part.bytes")} AS response_bytes, CAST(NULL AS VARCHAR) AS duration_ms,
            CASE WHEN starts_with(target, '/') THEN {sql_text(layout.site)} || target
                ELSE {_given("target")} END AS url,
            {_given("part.referrer")} AS referrer, CAST(NULL AS VARCHAR) AS value,
            CAST(NULL AS VARCHAR) AS currency, CAST(NULL AS VARCHAR) AS properties,
            CAST(NULL AS VARCHAR) AS given_event_id, false AS has_own_id, '{{}}' AS untaken
        FROM (
            SELECT *, regexp_extract(part.request, {sql_text(_REQUEST)}, 1) AS method,
                regexp_extract(part.request, {sql_text(_REQUEST)}, 2) AS target
            FROM (
                SELECT *, regexp_extract(raw, {sql_text(_LINE)}, {_PARTS}) AS part
                FROM {records}
            )
        )
    """


def _given(text: str) -> str:
    """Return null for what the log writes as nothing: an empty text or a dash."""
    return f"nullif(nullif({text}, '-'), '')"
