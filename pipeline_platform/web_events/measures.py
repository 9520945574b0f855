"""What each threshold of the runbook measures: one function per name, no limit anywhere.

Functions read the lake, the landing zone or PostgreSQL and return measurements by label (a day, a
query, or `all`); `MEASURES` maps the runbook's names to them. See `quality.measures`.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache, partial
from typing import Any

import duckdb

from pipeline_platform.lake.engine import sql_text
from pipeline_platform.lake.relations import as_view
from pipeline_platform.operations import common_measures
from pipeline_platform.partition_ranges import ONE_DAY, dates_in, day_range, partition_key
from pipeline_platform.quality import measures
from pipeline_platform.quality.measurements import Measurement, percentage, unmeasured
from pipeline_platform.quality.measures import ALL, FILE_WINDOW, Labelled
from pipeline_platform.quality.trends import FEWEST_DAYS, Points, drop, slope_per_day
from pipeline_platform.web_events.analyst_queries import newest_queries
from pipeline_platform.web_events.ingestion import events_stream
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.schema_drift import Shape, drift
from pipeline_platform.web_events.tables import RAW_EVENTS, WEB_EVENTS

Scope = measures.Scope[RunContext]
LEAST_DAYS_OF_A_BASELINE = 3


def _events(
    run: RunContext, engine: duckdb.DuckDBPyConnection, first: date, last: date
) -> duckdb.DuckDBPyRelation:
    return run.services.lake.relation(engine, WEB_EVENTS, months=(first, last))


def _error_rate(scope: Scope) -> Labelled:
    rows = scope.rows(
        "SELECT log.file_name, sum(entry.quarantined)::bigint, sum(entry.arrived)::bigint"
        " FROM conservation_ledger AS entry JOIN etl_processing_log AS log USING"
        " (pipeline, file_sha256) WHERE pipeline = %(pipeline)s AND hop = 'landing_to_bronze'"
        " AND log.published_at > %(since)s GROUP BY log.file_name"
        " ORDER BY sum(entry.quarantined) DESC, log.file_name",
        since=scope.run.now() - FILE_WINDOW,
    )
    return {
        ALL: percentage(
            "error_rate",
            sum(held for _, held, _ in rows),
            sum(arrived for _, _, arrived in rows),
            offenders=[f"{name}: {held}" for name, held, _ in rows if held],
        )
    }


def _quality_score(scope: Scope) -> Labelled:
    if not scope.partitions:
        return {}
    with scope.run.services.connect() as engine:
        days = (
            _events(scope.run, engine, scope.partitions[0], scope.partitions[-1])
            .aggregate("event_date, avg(data_quality_score), count(*)", "event_date")
            .order("event_date")
            .fetchall()
        )
    return {
        partition_key(day): Measurement("data_quality_score", mean, sample_size=count)
        for day, mean, count in days
    }


def _quality_trend(scope: Scope) -> Labelled:
    """Fit a line through the daily means of the last days up to the latest one."""
    return _of_trend(scope, "quality_trend", slope_per_day)


def _quality_drop(scope: Scope) -> Labelled:
    """Compare the latest day's mean with those of the days before it."""
    return _of_trend(scope, "quality_drop", drop)


def _of_trend(scope: Scope, name: str, figure: Callable[[Points], float]) -> Labelled:
    if not scope.partitions:
        return {}
    last = scope.partitions[-1]
    first = last - (scope.run.runbook.rulings.trend_days - 1) * ONE_DAY
    with scope.run.services.connect() as engine:
        points = (
            _events(scope.run, engine, first, last)
            .aggregate("event_date, avg(data_quality_score)", "event_date")
            .order("event_date")
            .fetchall()
        )
    if len(points) < FEWEST_DAYS:
        reason = f"the trend has {len(points)} days, at least {FEWEST_DAYS} are needed"
        return {ALL: unmeasured(name, reason)}
    means = tuple(f"{day}: {mean:.3f}" for day, mean in points)
    return {ALL: Measurement(name, figure(points), sample_size=len(points), offenders=means)}


def _bot_share_spike(scope: Scope) -> Labelled:
    """Compare each day's share of bots with the median of the days before it."""
    shares = _by_day(scope, "100 * avg(is_bot::INTEGER), count(*)")
    found: dict[str, Measurement] = {}
    for day in scope.partitions:
        if day not in shares:
            continue
        share, count = shares[day]
        before = [value for other, (value, _) in shares.items() if _is_before(scope, other, day)]
        if len(before) < LEAST_DAYS_OF_A_BASELINE:
            found[partition_key(day)] = _no_baseline("bot_share_spike", before)
        else:
            usual = statistics.median(before)
            found[partition_key(day)] = Measurement(
                "bot_share_spike", share - usual, share, usual, count
            )
    return found


def _unseen_kinds(scope: Scope) -> Labelled:
    """Look for sources, and event types that the runbook does not name, that no day before had.

    The value is the number of such kinds, the numerator the number of events of them (SW-32).
    """
    known = set(scope.run.runbook.rulings.known_event_types)
    kinds = _by_day(scope, "map_entries(histogram((event_type, source))), count(*)")
    found: dict[str, Measurement] = {}
    for day in scope.partitions:
        if day not in kinds:
            continue
        counts, total = _kinds(kinds[day])
        before = [_kinds(one)[0] for other, one in kinds.items() if _is_before(scope, other, day)]
        if not before:
            found[partition_key(day)] = _no_baseline("unseen_kinds", before)
            continue
        seen_types = known.union(*({kind for kind, _ in one} for one in before))
        seen_sources = {source for one in before for _, source in one}
        of_new: Counter[str] = Counter()
        events = 0
        for (kind, source), count in counts.items():
            names = [f"event type {kind}"] if kind not in seen_types else []
            names += [f"source {source}"] if source not in seen_sources else []
            of_new.update(dict.fromkeys(names, count))
            events += count if names else 0
        found[partition_key(day)] = Measurement(
            "unseen_kinds",
            len(of_new),
            events,
            total,
            sample_size=total,
            offenders=tuple(f"{name}: {count} events" for name, count in of_new.most_common()),
        )
    return found


def _kinds(row: tuple[Any, ...]) -> tuple[dict[tuple[str, str], int], int]:
    """Return a day's events by event type and source, and all of them."""
    pairs, total = row
    return {one["key"]: one["value"] for one in pairs}, total


def _schema_drift(scope: Scope) -> Labelled:
    """Compare the shape of each day's JSON records with that of the days before, by source."""
    if not scope.partitions:
        return {}
    rulings, lake = scope.run.runbook.rulings, scope.run.services.lake
    first = scope.partitions[0] - rulings.baseline_days * ONE_DAY
    found: dict[str, Measurement] = {}
    with scope.run.services.connect() as engine:
        counts = (
            lake.relation(engine, RAW_EVENTS, months=(first, scope.partitions[-1]))
            .aggregate("event_date, source, count(*)", "event_date, source")
            .order("event_date")
            .fetchall()
        )

        @cache
        def shape(day: date, source: str) -> Shape:
            records = lake.relation(engine, RAW_EVENTS, months=(day, day))
            return _shape(engine, records, source, rulings.schema_drift.sampled_records)

        for day in scope.partitions:
            changes: list[str] = []
            compared = 0
            for source in (name for other, name, _ in counts if other == day):
                earlier = [
                    shape(other, name)
                    for other, name, _ in counts
                    if name == source and _is_before(scope, other, day)
                ]
                earlier = [one for one in earlier if one.records]
                if shape(day, source).records and len(earlier) >= LEAST_DAYS_OF_A_BASELINE:
                    compared += shape(day, source).records
                    least = rulings.schema_drift.least_share_pct / 100
                    told = drift(shape(day, source), earlier, least_share=least)
                    changes += [f"{source}: {one}" for one in told]
            if compared:
                found[partition_key(day)] = Measurement(
                    "schema_drift", len(changes), sample_size=compared, offenders=tuple(changes)
                )
            else:
                reason = f"no source has JSON records on it and on {LEAST_DAYS_OF_A_BASELINE} days"
                found[partition_key(day)] = unmeasured("schema_drift", f"{reason} before")
    return found


def _shape(
    engine: duckdb.DuckDBPyConnection, records: duckdb.DuckDBPyRelation, source: str, most: int
) -> Shape:
    """Return the shape of a source's first JSON records; reading ends when there are enough."""
    json = records.filter(
        f"source = {sql_text(source)} AND starts_with(raw, '{{') AND json_valid(raw)"
    )
    view = as_view(json.project("raw").limit(most))
    ((count,),) = engine.sql(f"SELECT count(*) FROM {view}").fetchall()
    keys = engine.sql(
        f"SELECT one.key, one.type, count(*) FROM {view} AS record, json_each(record.raw) AS one"
        " GROUP BY ALL"
    ).fetchall()
    return Shape.of(count, keys)


def _hourly_volume(scope: Scope) -> Labelled:
    """Compare each closed hour with the median of the same hour of the days before."""
    by_hour = _by_day(scope, "histogram(hour(event_at)), count(*)")
    now = scope.run.now()
    found: dict[str, Measurement] = {}
    for day in scope.partitions:
        if day not in by_hour:
            continue
        counts, total = by_hour[day]
        before = [one[0] for other, one in by_hour.items() if _is_before(scope, other, day)]
        if len(before) < LEAST_DAYS_OF_A_BASELINE:
            found[partition_key(day)] = _no_baseline("hourly_volume", before)
            continue
        closed = 24 if day < now.date() else now.hour
        odds = {
            hour: _times(counts.get(hour, 0), statistics.median(one.get(hour, 0) for one in before))
            for hour in range(closed)
        }
        if not odds:
            found[partition_key(day)] = unmeasured("hourly_volume", "no hour of the day is closed")
            continue
        hour = max(odds, key=lambda one: odds[one])
        found[partition_key(day)] = Measurement(
            "hourly_volume", odds[hour], sample_size=total, offenders=(f"{day} {hour:02d}:00",)
        )
    return found


def _times(count: float, usual: float) -> float:
    """Return how many times more or fewer; one is added to both so that nothing divides by 0."""
    return max((count + 1) / (usual + 1), (usual + 1) / (count + 1))


def _by_day(scope: Scope, expressions: str) -> dict[date, tuple[Any, ...]]:
    """Aggregate the days in question and those of the baseline before them."""
    if not scope.partitions:
        return {}
    first = scope.partitions[0] - scope.run.runbook.rulings.baseline_days * ONE_DAY
    with scope.run.services.connect() as engine:
        rows = (
            _events(scope.run, engine, first, scope.partitions[-1])
            .aggregate(f"event_date, {expressions}", "event_date")
            .order("event_date")
            .fetchall()
        )
    return {row[0]: row[1:] for row in rows}


def _is_before(scope: Scope, other: date, day: date) -> bool:
    return 0 < (day - other).days <= scope.run.runbook.rulings.baseline_days


def _no_baseline(name: str, before: Sequence[object]) -> Measurement:
    return unmeasured(name, f"only {len(before)} days before have events to compare with")


def _last_closed_date(scope: Scope) -> Labelled:
    name, today = "last_closed_date", scope.run.now().date()
    present = dates_in(scope.run.services.lake.partitions(WEB_EVENTS))
    if not present:
        return {ALL: unmeasured(name, "no day has been published yet")}
    first = max(min(present), today - scope.run.runbook.rulings.trend_days * ONE_DAY)
    closed = day_range(first, today - ONE_DAY)
    missing = [partition_key(day) for day in closed if day not in present]
    return {
        ALL: Measurement(
            name,
            len(missing),
            len(missing),
            len(closed),
            sample_size=len(closed),
            offenders=tuple(reversed(missing)),
        )
    }


def _rows_of_today(scope: Scope) -> Labelled:
    today = scope.run.now().date()
    present = dates_in(scope.run.services.lake.partitions(RAW_EVENTS))
    if not present:
        return {ALL: unmeasured("rows_of_today", "bronze holds no record yet")}
    return {ALL: Measurement("rows_of_today", present.get(today, 0))}


def _stream(scope: Scope, name: str) -> Labelled:
    stream = events_stream(scope.run.services.settings)
    return {ALL: measures.stream_health(scope, stream)[name]}


def _query_times(scope: Scope, name: str) -> Labelled:
    """Time each of the analysts' queries over the last days that silver has."""
    probes = newest_queries(scope.run.services)
    if not probes:
        return {ALL: unmeasured(name, "silver holds no day yet")}
    return measures.query_times(name, probes)


MEASURES: Mapping[str, Callable[[Scope], Labelled]] = {
    **common_measures.MEASURES,
    "error_rate": _error_rate,
    "data_quality_score": _quality_score,
    "quality_trend": _quality_trend,
    "quality_drop": _quality_drop,
    "bot_share_spike": _bot_share_spike,
    "unseen_kinds": _unseen_kinds,
    "schema_drift": _schema_drift,
    "hourly_volume": _hourly_volume,
    "last_closed_date": _last_closed_date,
    "rows_of_today": _rows_of_today,
    "stream_silence": partial(_stream, name="stream_silence"),
    "stream_iterator_age": partial(_stream, name="stream_iterator_age"),
    "stream_retention_used": partial(_stream, name="stream_retention_used"),
    "stream_error_rate": partial(_stream, name="stream_error_rate"),
    "query_time": partial(_query_times, name="query_time"),
    "slow_queries": partial(_query_times, name="slow_queries"),
}
