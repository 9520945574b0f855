"""Bronze to silver: stage the events of days, audit them, publish them."""

from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache

import duckdb

from pipeline_platform import partition_ranges
from pipeline_platform.lake.publications import Publication
from pipeline_platform.lake.reading import PartitionValue
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.partition_ranges import ONE_DAY, dates_in, partition_key, pieces, span_of
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.validation import validate
from pipeline_platform.refinement import (
    HOP,
    StagedSilver,
    audited,
    before_reading,
    partitions_locked,
    publish_silver,
)
from pipeline_platform.warehouse import control
from pipeline_platform.web_events.bot_behaviour import BehaviourLimits
from pipeline_platform.web_events.bots import load_bot_list
from pipeline_platform.web_events.duplicates import KEYS, days_around
from pipeline_platform.web_events.normalisation import (
    Normalised,
    Reading,
    Surroundings,
    normalise,
)
from pipeline_platform.web_events.run_context import FOLDER, RunContext, load_runbook
from pipeline_platform.web_events.scoring import check_weights
from pipeline_platform.web_events.tables import PIPELINE, RAW_EVENTS, WEB_EVENTS
from pipeline_platform.web_events.user_agents import describe

ROWS_PER_MEGABYTE = 1_000
"""How many records a piece of a backfill may hold per megabyte of the memory limit."""

MEGABYTES_PER_THREAD = 120
"""What a thread needs to write rows of so many columns to a temporary table (fails with 70)."""


@cache
def contract() -> Contract:
    """Read the data contract of silver once per process."""
    return Contract.load(FOLDER / "contracts" / "web_events.yaml")


def prepare() -> None:
    """Compile all rules of agents; for a process from which those that refine are forked."""
    load_bot_list(load_runbook().rulings.friends)
    describe("any")


def reading_of(run: RunContext) -> Reading:
    """Return how the run's runbook, sources and bot list want records read."""
    rulings = run.runbook.rulings
    check_weights(rulings.score)
    limits = rulings.behaviour
    return Reading(
        sources=run.sources,
        bot_list=load_bot_list(rulings.friends, folder=run.bot_rules),
        behaviour=BehaviourLimits(
            max_pages_per_minute=limits.max_pages_per_minute,
            fast_minutes=limits.fast_minutes,
            min_pages_without_assets=limits.min_pages_without_assets,
        ),
        session_minutes=rulings.session_minutes,
        late_after_hours=rulings.late_after_hours,
        deduplication_days=rulings.deduplication_days,
        score=rulings.score,
        known_event_types=rulings.known_event_types,
    )


def normalise_days(
    run: RunContext,
    engine: duckdb.DuckDBPyConnection,
    days: Sequence[date],
) -> Normalised:
    """Compute the events of consecutive days from bronze as it is now; nothing is stored."""
    lake, reach = run.services.lake, run.runbook.rulings.deduplication_days
    first, last = days_around(days, reach)
    before, after = days[0] - ONE_DAY, days[-1] + ONE_DAY

    def around(table: LakeTable) -> duckdb.DuckDBPyRelation:
        parts = [
            lake.relation(engine, table, months=span).project(KEYS)
            for span in ((first, before), (after, last))
        ]
        return parts[0].union(parts[1])

    return normalise(
        engine,
        lake.relation(engine, RAW_EVENTS, months=(days[0], days[-1])),
        days,
        Surroundings(
            neighbours=around(RAW_EVENTS),
            published=lake.relation(engine, WEB_EVENTS, months=(days[0], days[-1])).project(KEYS),
            published_neighbours=around(WEB_EVENTS),
        ),
        reading_of(run),
    )


def rows_within(run: RunContext, rows_per_megabyte: int) -> int:
    """Return how many rows the memory limit of the run's settings allows."""
    return partition_ranges.rows_within(run.services.settings.memory_limit, rows_per_megabyte)


def stage_days(run: RunContext, days: Sequence[date]) -> StagedSilver:
    """Write the events of consecutive days beside the table and audit them."""
    lake = run.services.lake
    for table in (RAW_EVENTS, WEB_EVENTS):
        lake.ensure(table)
    before = before_reading(run, RAW_EVENTS, days)
    with silver_engine(run) as engine:
        normalised = normalise_days(run, engine, days)
        with lake.streams(WEB_EVENTS, run_id=run.run_id, partition=span_of(days)) as (stream,):
            for part in normalised.slices:
                stream.copy(
                    normalised.events.filter(part.condition),
                    is_sorted=False,
                    is_whole=part.bytes <= run.services.settings.waiting_bytes,
                )
        staged = lake.stage_stream(stream)
        written = lake.staged_relation(engine, staged)
        return audited(
            run,
            before,
            days,
            staged={WEB_EVENTS.name: staged},
            audit={WEB_EVENTS.name: validate(contract(), written, now=run.now())},
            ledger=ledger_entries(normalised, written),
            outdated=normalised.outdated_days,
        )


def silver_engine(run: RunContext) -> duckdb.DuckDBPyConnection:
    """Open an engine for rows as wide as those of silver; the caller closes it."""
    megabytes = run.services.settings.memory_bytes * 5 // 8 // 10**6
    threads = min(run.services.settings.threads, max(1, megabytes // MEGABYTES_PER_THREAD))
    return run.services.connect(memory_limit=f"{megabytes}MB", threads=threads)


def publish_days(run: RunContext, silver: StagedSilver) -> Publication:
    """Publish audited days; raise AuditFailedError where a blocking rule is broken."""
    return publish_silver(run, silver)[WEB_EVENTS.name]


def refine_days(run: RunContext, days: Sequence[date]) -> Iterator[StagedSilver]:
    """Stage consecutive days in pieces that fit into memory; each is published when it is pulled.

    The days of a piece are locked until the next one is asked for. What comes out may have
    objections: then nothing of it was published and the caller must stop.
    """
    rows = dates_in(run.services.lake.partitions(RAW_EVENTS))
    limit = rows_within(run, ROWS_PER_MEGABYTE)
    for piece in run.while_running(pieces(days, rows, limit)):
        with partitions_locked(run, piece):
            silver = stage_days(run, piece)
            yield silver
            publish_days(run, silver)


def requested_days(run: RunContext) -> dict[date, int]:
    """Return the days that wait to be processed, oldest first, with each request's version."""
    with run.services.database.connection() as connection:
        pending = control.pending_partitions(connection, PIPELINE)
    return {date.fromisoformat(key): version for key, version in pending.items()}


def ledger_entries(normalised: Normalised, written: duckdb.DuckDBPyRelation) -> list[LedgerEntry]:
    """Account for the days' records: what bronze had, what was dropped, what the files hold."""
    published: dict[tuple[PartitionValue, str], int] = {
        (day, sha256): count
        for day, sha256, count in written.aggregate(
            "event_date, file_sha256, count(*)", "event_date, file_sha256"
        ).fetchall()
    }
    counted = normalised.counts.project("event_date, file_sha256, arrived, deduplicated").fetchall()
    return [
        LedgerEntry(
            pipeline=PIPELINE,
            hop=HOP,
            file_sha256=sha256,
            partition_key=partition_key(day),
            arrived=arrived,
            published=published.get((day, sha256), 0),
            quarantined=0,
            deduplicated=deduplicated,
            held_late=0,
        )
        for day, sha256, arrived, deduplicated in counted
    ]
