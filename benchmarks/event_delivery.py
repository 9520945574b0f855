"""NDJSON deliveries of web events of any size, made by DuckDB in seconds: one file for each day.

Visits of eight events follow each other through the day, five hundred of them interleaved; few
agents make most events. On purpose, by number of the line: one in a hundred is a copy of another
one of its file, one in five hundred a copy of one of the day before, one in a hundred happened a
day earlier and is late, and one in two thousand can't be read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.bots import SHAPES, made_agents

DISTINCT_AGENTS = 1_000
PEOPLE_SHAPES = 4
"""So many of the first shapes of agents are people's browsers."""
ARRIVAL = timedelta(days=1, minutes=10)

_QUERY = """
COPY (
    WITH lines AS (
        SELECT line, chance({day}, line, 'copy') % 500 AS chance FROM range({events}) AS t (line)
    ),
    sources AS (
        SELECT line, CASE WHEN chance = 1 AND {day} > 0 THEN {day} - 1 ELSE {day} END AS day,
            CASE WHEN chance % 100 = 2 AND line > 1000 THEN line - 37 ELSE line END AS number
        FROM lines
    ),
    events AS (
        SELECT *, number // 4096 * 512 + number % 512 AS visit, number % 4096 // 512 AS step,
            chance(day, number, 'event') AS random, chance(day, number, 'other') AS other
        FROM sources
    ),
    visits AS (
        SELECT *, chance(day, visit, 'visit') AS person FROM events
    ),
    dressed AS (
        SELECT *,
            TIMESTAMP '{first}' + INTERVAL 1 DAY * (day - CASE WHEN random % 100 = 7 THEN 1 ELSE 0
                END)
                + INTERVAL 1 MILLISECOND * CAST(
                    81e6 * (visit + 1) / ({events} / 8 + 512) + 60000 * step + other % 55000
                    + CASE WHEN person % 10 = 0 AND step > 4 THEN 2400000 ELSE 0 END AS BIGINT
                ) AS happened_at,
            CASE step WHEN 5 THEN 'add_to_cart' WHEN 6 THEN 'begin_checkout' WHEN 7 THEN
                CASE WHEN person % 4 = 0 THEN 'purchase' ELSE 'scroll' END
                ELSE ['page_view', 'page_view', 'click', 'search'][1 + random % 4]
                END AS event_type,
            'https://shop.example.com/' || ['products', 'collections', 'blog', 'help'][1 + person %
                4] || '/' || random % 4000 AS page,
            (pow({agents}, (person % 1000003) / 1000003.0))::BIGINT - 1 AS agent_rank
        FROM visits
    ),
    agented AS (
        SELECT dressed.*, agent FROM dressed JOIN agents ON agents.number = agent_rank * {shapes}
            + CASE WHEN person % 20 = 0 THEN {people} + person // 20 % ({shapes} - {people})
                ELSE person // 20 % {people} END
    ),
    written AS (
        SELECT line, random, '{{"event_id":"' || md5(day || '-' || number)
            || '","event_type":"' || event_type
            || '","event_time":"' || strftime(happened_at, '%Y-%m-%dT%H:%M:%S.%gZ')
            || '"' || CASE WHEN person % 5 = 0
                THEN ',"user_id":"user-' || person % 200000 || '"' ELSE '' END
            || CASE WHEN person % 20 = 1 THEN ''
                ELSE ',"anonymous_id":"' || left(md5(CAST(person % {visitors} AS VARCHAR)), 20)
                    || '"' END
            || ',"url":"' || page || CASE WHEN step = 0 AND person % 6 = 0
                THEN '?utm_source=newsletter&utm_medium=email&utm_campaign=autumn%20sale'
                WHEN step = 0 AND person % 6 = 1
                THEN '?utm_source=google&utm_medium=cpc&utm_campaign=brand+terms&gclid='
                    || person % 100000
                WHEN random % 3 = 0 THEN '?sort=price&page=' || random % 9 ELSE '' END
            || '"' || CASE WHEN step > 0 THEN ',"referrer":"https://shop.example.com/"'
                WHEN person % 3 = 0 THEN ',"referrer":null'
                ELSE ',"referrer":"' || ['https://www.google.com/', 'https://t.co/x1',
                    'https://blog.example.org/post/17', 'https://duckduckgo.com/?q=chairs'
                    ][1 + person % 4] || '"' END
            || ',"user_agent":"' || agent
            || '","ip":"198.51.' || person % 250 || '.' || person // 250 % 250
            || '","status_code":'
            || CASE WHEN random % 50 = 0 THEN 404 ELSE 200 END
            || ',"response_bytes":' || 500 + other % 60000
            || ',"duration_ms":' || other % 4000 / 10.0
            || CASE WHEN event_type = 'purchase'
                THEN ',"value":' || (500 + other % 20000) / 100.0 || ',"currency":"EUR"'
                ELSE '' END
            || ',"properties":{{"step":' || step || ',"variant":"' || ['a', 'b'][1 + person % 2]
            || '"}}}}' AS text
        FROM agented
    )
    SELECT CASE chance({day}, line, 'broken') % 4000 WHEN 1 THEN left(text, 200)
        WHEN 2 THEN replace(text, '"event_time"', '"no_time"') ELSE text END
    FROM written
) TO '{path}' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01')
"""


@dataclass(frozen=True)
class Delivery:
    """One file, and when it arrived: that is its time of modification, too."""

    path: Path
    received_at: datetime

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size


def write_deliveries(
    folder: Path, *, events: int, days: int, first: date, is_one_file: bool = False
) -> list[Delivery]:
    """Write about as many events of so many days; with `is_one_file` they arrive together."""
    per_day = [events * (day + 1) // days - events * day // days for day in range(days)]
    agents = made_agents(DISTINCT_AGENTS * len(SHAPES) + len(SHAPES))
    table = pa.table({"number": range(len(agents)), "agent": agents})
    paths = [folder / f"events_{first + timedelta(days=day)}.ndjson" for day in range(days)]
    with duckdb.connect() as engine:
        engine.execute("CREATE MACRO chance(a, b, c) AS CAST(hash(a, b, c) >> 2 AS BIGINT)")
        engine.from_arrow(table).create("agents")
        for day, path in enumerate(paths):
            engine.execute(
                _QUERY.format(
                    day=day,
                    events=per_day[day],
                    visitors=max(per_day) // 20 + 1,
                    first=first,
                    agents=DISTINCT_AGENTS,
                    shapes=len(SHAPES),
                    people=PEOPLE_SHAPES,
                    path=path,
                )
            )
    if is_one_file:
        paths = [_joined(paths)]
    last = first + timedelta(days=days - 1)
    arrived_on = [last] if is_one_file else [first + timedelta(days=day) for day in range(days)]
    return [
        _arrived(path, datetime.combine(day, datetime.min.time(), UTC) + ARRIVAL)
        for path, day in zip(paths, arrived_on, strict=True)
    ]


def _joined(paths: Sequence[Path]) -> Path:
    """Append all files to the first one."""
    with paths[0].open("ab") as target:
        for path in paths[1:]:
            with path.open("rb") as source:
                while block := source.read(16 * 1024 * 1024):
                    target.write(block)
            path.unlink()
    return paths[0]


def _arrived(path: Path, received_at: datetime) -> Delivery:
    os.utime(path, (received_at.timestamp(), received_at.timestamp()))
    return Delivery(path, received_at)
