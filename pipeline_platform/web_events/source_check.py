"""`web source check FILE`: which source it is of, what would be read, what fails, how it scores.

Nothing is stored; files are read and events computed by the pipeline's own code.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline_platform.ingestion.delivery_errors import DeliveryError
from pipeline_platform.lake.relations import as_view, unique_name
from pipeline_platform.web_events.bronze_events import Provenance
from pipeline_platform.web_events.duplicates import KEYS
from pipeline_platform.web_events.ingestion import EventReading
from pipeline_platform.web_events.normalisation import Reading, Surroundings, normalise
from pipeline_platform.web_events.rulings import Rulings
from pipeline_platform.web_events.sources import mapping_for
from pipeline_platform.web_events.tables import RAW_EVENTS

EXAMPLES = 3
FILE_HASH = "0" * 64


@dataclass(frozen=True)
class SourceReport:
    """What would become of a file.

    `failure_rule` and `failure` (a sentence) are set when it would be quarantined whole. `rejected`
    counts records that stay out, by rule, `examples` says why the first of each do. `deductions`
    counts the events of which a broken rule takes something off the score.
    """

    file_name: str
    source: str | None = None
    mapping_version: str | None = None
    failure_rule: str | None = None
    failure: str | None = None
    records: int = 0
    readable: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    events: int = 0
    first_day: date | None = None
    last_day: date | None = None
    event_types: Mapping[str, int] = field(default_factory=dict)
    bot_events: int = 0
    visitors: int = 0
    mean_score: float | None = None
    deductions: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Tell whether every record would become an event."""
        return self.failure is None and not self.rejected


def check_file(
    engine: duckdb.DuckDBPyConnection,
    path: Path,
    reading: Reading,
    rulings: Rulings,
    now: datetime,
) -> SourceReport:
    """Read a file as an ingest at `now` would, and report; never raises for what it holds."""
    source = version = None
    try:
        mapping = mapping_for(path.name, reading.sources)
        source, version = mapping.source, mapping.version
        opened = EventReading(engine, path, mapping, Provenance(path.name, FILE_HASH, now), rulings)
        bronze = unique_name("bronze")
        engine.execute(f"CREATE TEMP TABLE {bronze} AS FROM {as_view(opened.records)}")
        ((readable,),) = engine.table(bronze).aggregate("count(*)").fetchall()
        rejected = [(line.rule, f"line {line.line_number}: {line.reason}")
                    for line in opened.rejected(readable)]  # fmt: skip
    except DeliveryError as error:
        return SourceReport(path.name, source, version, error.rule, str(error))
    examples: dict[str, list[str]] = {}
    for rule, sentence in rejected:
        examples.setdefault(rule, []).append(sentence)
    return SourceReport(
        file_name=path.name,
        source=source,
        mapping_version=version,
        records=sum(opened.arrived.values()),
        readable=readable,
        rejected=dict(Counter(rule for rule, _ in rejected).most_common()),
        examples={rule: tuple(found[:EXAMPLES]) for rule, found in examples.items()},
        **_of_events(engine, engine.table(bronze), reading),
    )


def _of_events(
    engine: duckdb.DuckDBPyConnection, bronze: duckdb.DuckDBPyRelation, reading: Reading
) -> dict[str, Any]:
    """Say what the events would be, by computing them without any other file."""
    ((first, last),) = bronze.aggregate("min(event_date), max(event_date)").fetchall()
    nothing = engine.from_arrow(RAW_EVENTS.schema.empty_table()).project(KEYS)
    events = normalise(
        engine, bronze, [first, last], Surroundings(nothing, nothing, nothing), reading
    ).events
    name = as_view(events)
    ((count, bots, visitors, score),) = engine.sql(
        f"SELECT count(*), count(*) FILTER (is_bot), count(DISTINCT visitor_id),"
        f" avg(data_quality_score) FROM {name}"
    ).fetchall()
    types = engine.sql(
        f"SELECT event_type, count(*) FROM {name} GROUP BY event_type ORDER BY 2 DESC, 1 LIMIT 20"
    ).fetchall()
    broken = engine.sql(
        f"SELECT score_deductions, count(*) FROM {name} GROUP BY score_deductions"
    ).fetchall()
    deductions: Counter[str] = Counter()
    for text, times in broken:
        deductions.update(dict.fromkeys(json.loads(text), times))
    return {
        "events": count,
        "first_day": first,
        "last_day": last,
        "event_types": dict(types),
        "bot_events": bots,
        "visitors": visitors,
        "mean_score": score,
        "deductions": dict(deductions.most_common()),
    }
