"""JSON events as SQL: where in a record its id, its time and every other field lie.

The paths come from the source's mapping.
"""

import json
from collections.abc import Iterable

from pipeline_platform.lake.engine import sql_name, sql_text
from pipeline_platform.web_events.sources import TEXTS, JsonEvents, TimeFormat

UNREADABLE = ("invalid_json", "The record is no JSON object.")
_PER_UNIT = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_YEAR_1990 = 631_152_000_000_000
_YEAR_2255 = 9_000_000_000_000_000
"""In microseconds: what a number of another unit would lie outside of, and what fits an instant."""


def located(layout: JsonEvents, lines: str) -> str:
    """Return the query for event_id and event_at of records (line_number, raw) of a view.

    `is_readable` is false where the record is no JSON object; `event_time` is the time as text.
    """
    event_id = layout.fields.get("event_id")
    paths = [layout.fields["event_at"], *([event_id] if event_id else [])]
    return f"""
        SELECT line_number, raw, found IS NOT NULL AS is_readable,
            {"found[2]" if event_id else "CAST(NULL AS VARCHAR)"} AS event_id,
            found[1] AS event_time, {instant(layout.time_formats, "found[1]")} AS event_at
        FROM (
            SELECT line_number, raw,
                CASE WHEN starts_with(raw, '{{') AND ends_with(raw, '}}')
                    THEN TRY(json_extract_string(raw, {_list(paths)})) END AS found
            FROM {lines}
        )
    """


def fields(layout: JsonEvents, records: str) -> str:
    """Return the query for every field, as text, of records with a column `raw`; others stay.

    Fields that the mapping does not name are null. `given_event_id` is the id as delivered,
    `untaken` the record without the keys that a field takes, as JSON, '{}' if nothing is left.
    """
    places = _places(layout)
    found = [f"{places.get(name, 'CAST(NULL AS VARCHAR)')} AS {name}" for name in TEXTS]
    keys = dict.fromkeys(_struct_keys(layout), "VARCHAR")
    struct = f"json_transform(raw, {sql_text(json.dumps(keys))})" if keys else "NULL"
    return f"""
        SELECT * EXCLUDE (found, raw), {", ".join(found)},
            CAST({places.get("event_id", "NULL")} AS VARCHAR) AS given_event_id,
            {str("event_id" in places).lower()} AS has_own_id, {_untaken(layout)} AS untaken
        FROM (SELECT *, {struct} AS found FROM {records})
    """


def _places(layout: JsonEvents) -> dict[str, str]:
    """Return the SQL of each field over `found`, or over `raw` if it lies deeper in the record."""
    columns = {
        path: f"found.{sql_name(key)}"
        for key in _struct_keys(layout)
        for path in (f"$.{key}", f'$."{key}"')
    }
    return {
        field: columns.get(path, f"json_extract_string(raw, {sql_text(path)})")
        for field, path in layout.fields.items()
    }


def _struct_keys(layout: JsonEvents) -> list[str]:
    """Return the keys that are read together; of two that differ in case only the first one.

    One reading of all keys into a struct costs half of one by their paths.
    """
    return list({key.lower(): key for key in reversed(layout.taken_keys)}.values())


def _untaken(layout: JsonEvents) -> str:
    """Return the SQL of a record without the keys that a field takes.

    A merge patch removes the keys that it sets to null (RFC 7396). It costs more than reading all
    fields and is spared where the record has no more keys than fields were found.
    """
    patch = json.dumps(dict.fromkeys(layout.taken_keys))
    rest = f"CAST(json_merge_patch(raw, {sql_text(patch)}) AS VARCHAR)"
    if len(layout.taken_keys) < len(layout.fields):
        return rest
    count = " + ".join(
        f"CAST({place} IS NOT NULL AS TINYINT)" for place in _places(layout).values()
    )
    return f"CASE WHEN len(json_keys(raw)) = {count} THEN '{{}}' ELSE {rest} END"


def instant(formats: list[TimeFormat], text: str) -> str:
    """Return the instant that a text writes in the first format that fits, else null.

    A number is a time in the first unit that makes it one after 1990, or in the last unit.
    """
    epochs = [one for one in formats if one != "iso8601"]
    readings = []
    for one in formats:
        if one == "iso8601":
            readings.append(_iso8601(text))
            continue
        # A double holds these microseconds exactly; a wide decimal is read fifty times slower.
        micros = f"round(TRY_CAST({text} AS DOUBLE) * {_PER_UNIT[one]})"
        least = -_YEAR_2255 if one == epochs[-1] else _YEAR_1990
        readings.append(
            f"CASE WHEN {micros} BETWEEN {least} AND {_YEAR_2255}"
            f" THEN make_timestamp(CAST({micros} AS BIGINT)) AT TIME ZONE 'UTC' END"
        )
    return f"coalesce({', '.join(readings)})"


def _iso8601(text: str) -> str:
    """Read a date and time with any offset; without one it is UTC. A date alone is no time."""
    is_written_so = f"length({text}) >= 15 AND ({text}[5] = '-' OR {text}[9] = 'T')"
    rare = "['%Y-%m-%dT%H:%M%z', '%Y%m%dT%H%M%S%z']"
    signed = f"regexp_replace({text}, '[zZ]$', '+00:00')"
    return (
        f"CASE WHEN {is_written_so}"
        f" THEN coalesce(TRY_CAST({text} AS TIMESTAMPTZ), try_strptime({signed}, {rare})) END"
    )


def _list(paths: Iterable[str]) -> str:
    return "[" + ", ".join(sql_text(path) for path in paths) + "]"
