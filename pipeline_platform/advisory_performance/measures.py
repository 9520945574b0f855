"""What each threshold of the runbook measures: one function per name, no limit anywhere.

Functions read the lake, the landing zone or PostgreSQL and return measurements by label (a month,
a day, or `all`); `MEASURES` maps the runbook's names to them. See `quality.measures`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import duckdb

from pipeline_platform.advisory_performance.audit import SILVER_TABLES, contracts
from pipeline_platform.advisory_performance.reconciliation_rates import (
    completeness,
    difference_variance,
    open_accounts,
)
from pipeline_platform.advisory_performance.run_context import RunContext
from pipeline_platform.advisory_performance.tables import (
    ACCOUNT_STATES,
    RECONCILIATION,
    TIME_WEIGHTED_RETURNS,
    VALUATIONS,
)
from pipeline_platform.operations import common_measures
from pipeline_platform.partition_ranges import (
    dates_in,
    month_of,
    month_range,
    partition_key,
    shifted,
)
from pipeline_platform.quality import measures, scores
from pipeline_platform.quality.conservation import LedgerEntry
from pipeline_platform.quality.measurements import Measurement, percentage, unmeasured
from pipeline_platform.quality.measures import (
    ALL,
    SECONDS_PER_DAY,
    SECONDS_PER_MINUTE,
    Labelled,
)
from pipeline_platform.services import Services
from pipeline_platform.warehouse import embedded, processor_use

Scope = measures.Scope[RunContext]


def _quality_score(scope: Scope) -> Labelled:
    with scope.run.services.connect() as engine:
        return {
            partition_key(month): score_of(engine, scope, month).measurement()
            for month in scope.partitions
        }


def score_of(
    engine: duckdb.DuckDBPyConnection,
    scope: Scope,
    month: date,
    judged: Sequence[LedgerEntry] | None = None,
) -> scores.QualityScore:
    """Return a month's quality score as its silver, gold and ledger are.

    `judged` takes the place of the ledger's entries of the hop to silver, where these are not
    stored (B-9).
    """
    run, lake = scope.run, scope.run.services.lake
    counts = (
        _stored_counts(scope, partition_key(month))
        if judged is None
        else (
            sum(one.arrived for one in judged),
            sum(one.deduplicated for one in judged),
            sum(one.quarantined for one in judged),
        )
    )
    tables = [
        (contracts()[table.name], lake.relation(engine, table, months=(month, month)))
        for table in SILVER_TABLES
    ]
    return scores.score(tables, run.runbook.score_weights, rates=_score_rates(scope, month, counts))


def _stored_counts(scope: Scope, key: str) -> tuple[int, int, int]:
    """Return how many records of a month arrived, were dropped as doubles, were quarantined."""
    ((arrived, deduplicated, quarantined),) = scope.rows(
        "SELECT coalesce(sum(arrived), 0), coalesce(sum(deduplicated), 0),"
        " coalesce(sum(quarantined), 0) FROM conservation_ledger"
        " WHERE pipeline = %(pipeline)s AND partition_key = %(key)s AND hop = 'bronze_to_silver'",
        key=key,
    )
    return arrived, deduplicated, quarantined


def _score_rates(scope: Scope, month: date, counts: tuple[int, int, int]) -> list[scores.Part]:
    key = partition_key(month)
    arrived, deduplicated, quarantined = counts
    timely, files = measures.files_in_time(scope, key)
    complete = _completeness(replace(scope, partitions=(month,)))[key]
    passed = _pass_rates(replace(scope, partitions=(month,)))[ALL]
    distinct = float(arrived - deduplicated)
    return [
        scores.Part("validity", "records not quarantined", distinct - float(quarantined), distinct),
        scores.Part("timeliness", "files in time", float(timely), float(files)),
        scores.Part(
            "completeness",
            "expected account-days",
            complete.numerator or 0,
            complete.denominator or 0,
        ),
        scores.Part(
            "accuracy", "figures reconciled", passed.numerator or 0, passed.denominator or 0
        ),
    ]


def _completeness(scope: Scope) -> Labelled:
    lake = scope.run.services.lake
    found: dict[str, Measurement] = {}
    with scope.run.services.connect() as engine:
        for month in scope.partitions:
            before = shifted(month, -1)
            valuations = lake.relation(engine, VALUATIONS, months=(month, month))
            states = lake.relation(engine, ACCOUNT_STATES, months=(before, before))
            result = completeness(engine, valuations, open_accounts(engine, valuations, states))
            found[partition_key(month)] = percentage(
                "data_completeness", result.delivered, result.expected, offenders=result.offenders
            )
    return found


def _rates(scope: Scope, name: str, passing: str, considered: str) -> Labelled:
    """Count figures by day in one pass; the run as a whole comes under `all`."""
    if not scope.partitions:
        return {}
    span = (scope.partitions[0], scope.partitions[-1])
    with scope.run.services.connect() as engine:
        days = (
            scope.run.services.lake.relation(engine, RECONCILIATION, months=span)
            .aggregate(
                f"as_of_date, count(*) FILTER ({passing}) AS good,"
                f" count(*) FILTER ({considered}) AS total",
                "as_of_date",
            )
            .order("as_of_date")
            .fetchall()
        )
        breaches = (
            scope.run.services.lake.relation(engine, RECONCILIATION, months=span)
            .filter("reconciliation_status NOT IN ('COMPLETED', 'PENDING')")
            .order("as_of_date DESC, abs(difference_bps) DESC NULLS LAST")
            .project("account_id || ' ' || as_of_date || ' ' || period || ' ' || basis")
            .limit(10)
            .fetchall()
        )
    found = {str(day): percentage(name, good, total) for day, good, total in days}
    found[ALL] = percentage(
        name,
        sum(row[1] for row in days),
        sum(row[2] for row in days),
        offenders=[key for (key,) in breaches],
    )
    return found


def _pass_rates(scope: Scope) -> Labelled:
    return _rates(
        scope,
        "reconciliation_pass_rate",
        "reconciliation_status = 'COMPLETED'",
        "reconciliation_status != 'PENDING'",
    )


def _violations(scope: Scope) -> Labelled:
    by_label = _rates(
        scope,
        "tolerance_violations",
        "reconciliation_status = 'BREACH'",
        "reconciliation_status IN ('COMPLETED', 'BREACH')",
    )
    return {label: one for label, one in by_label.items() if label == ALL}


def _variance(scope: Scope) -> Labelled:
    if not scope.partitions:
        return {}
    rulings = scope.run.runbook.rulings
    back = rulings.variance_history_days
    first = month_of(scope.partitions[-1] - timedelta(days=2 * back))
    last = scope.partitions[-1]
    with scope.run.services.connect() as engine:
        lake = scope.run.services.lake
        spreads = difference_variance(
            engine,
            lake.relation(engine, RECONCILIATION, months=(last, last)),
            lake.relation(engine, RECONCILIATION, months=(first, shifted(last, -1))),
        )
    found: dict[str, Measurement] = {}
    for spread in spreads:
        label = str(spread.as_of_date)
        if spread.ratio is None:
            reason = spread.reason or "the spread has no history to be compared with"
            found[label] = unmeasured("return_variance", reason)
        else:
            found[label] = Measurement(
                "return_variance",
                spread.ratio,
                spread.dispersion,
                spread.usual,
                spread.account_count,
            )
    return found


def _vendor_silence(scope: Scope) -> Labelled:
    rows = scope.rows(
        "SELECT vendor, max(arrived_at) FROM etl_processing_log"
        " WHERE pipeline = %(pipeline)s AND vendor IS NOT NULL GROUP BY vendor"
    )
    now = scope.run.now()
    return {
        vendor: Measurement(
            "vendor_silence", (now - last).total_seconds() / SECONDS_PER_DAY, sample_size=1
        )
        for vendor, last in rows
    }


def _last_closed_month(scope: Scope) -> Labelled:
    present = dates_in(scope.run.services.lake.partitions(TIME_WEIGHTED_RETURNS))
    if not present:
        return {ALL: unmeasured("last_closed_month", "no month has been computed yet")}
    # The first month that files brought: if it is lost itself, the lake does not know it any more.
    rows = scope.rows(
        "SELECT min(key::date) FROM etl_processing_log, unnest(partition_keys) AS key"
        " WHERE pipeline = %(pipeline)s AND status = 'COMPLETED'"
    )
    first = min([*present, *(month for (month,) in rows if month is not None)])
    closed = month_range(first, shifted(month_of(scope.run.now().date()), -1))
    missing = [partition_key(month) for month in closed if month not in present]
    return {
        ALL: Measurement(
            "last_closed_month",
            len(missing),
            len(missing),
            len(closed),
            sample_size=len(closed),
            offenders=tuple(reversed(missing)),
        )
    }


def _months_made_ahead(scope: Scope) -> Labelled:
    this_month = month_of(scope.run.now().date())
    wanted = scope.run.runbook.rulings.premake_months
    months = [shifted(this_month, count) for count in range(wanted + 1)]
    present = {
        name
        for (name,) in scope.rows(
            "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
            " WHERE inhparent = 'performance_data'::regclass"
        )
    }
    missing = [month for month in months if f"performance_data_{month:%Y_%m}" not in present]
    return {
        ALL: Measurement(
            "months_made_ahead",
            len(missing),
            len(missing),
            wanted + 1,
            sample_size=wanted + 1,
            offenders=tuple(str(month) for month in missing),
        )
    }


def _default_partition(scope: Scope) -> Labelled:
    found = scope.rows(
        "SELECT child.oid::regclass::text FROM pg_inherits JOIN pg_class AS child"
        " ON child.oid = inhrelid WHERE inhparent = 'performance_data'::regclass"
        " AND pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'"
    )
    count = sum(scope.rows(f"SELECT count(*) FROM {name}")[0][0] for (name,) in found)
    return {ALL: Measurement("default_partition_rows", count, sample_size=1)}


def _database_cpu(scope: Scope) -> Labelled:
    """Sample what the embedded server's processes used, and judge the load that lasted (SA-15)."""
    name, now = "database_cpu", scope.run.now()
    settings, ruling = scope.run.services.settings, scope.run.runbook.rulings.sustained_load
    if settings.database_url or settings.database_secret_name:
        reason = "the database is on another machine and no source of its load is configured"
        return {ALL: unmeasured(name, reason)}
    pid = embedded.status(settings).pid
    counter = processor_use.processor_time(pid) if pid is not None else None
    if counter is None:
        return {ALL: unmeasured(name, "this system does not tell its processes' time")}
    with scope.run.services.database.transaction() as connection:
        processor_use.record_sample(connection, counter, now=now)
        loads = processor_use.loads(connection, counter, since=now - ruling.window, now=now)
    minutes = round(sum(one.seconds for one in loads) / SECONDS_PER_MINUTE, 1)
    used = processor_use.sustained_pct(loads, ruling.least)
    if used is None:
        reason = (
            f"the server was watched for {minutes:g} of the last {ruling.of_minutes} minutes, "
            f"{ruling.minutes} are needed"
        )
        return {ALL: unmeasured(name, reason)}
    return {ALL: Measurement(name, used, sample_size=len(loads))}


READERS_QUERIES = {
    "recent runs": "SELECT count(*) FROM recent_etl_runs",
    "breaches of the last month": (
        "SELECT count(*) FROM performance_data WHERE reconciliation_status != 'COMPLETED'"
        " AND as_of_date >= (SELECT max(as_of_date) FROM performance_data) - 31"
    ),
    "latest day of a vendor": (
        "SELECT data_source, max(as_of_date) FROM performance_data GROUP BY data_source"
    ),
}
"""What applications ask of the serving database, by what it tells."""


def readers_queries(services: Services) -> Mapping[str, Callable[[], object]]:
    """Return what asks each of the applications' queries."""
    scope = Scope(RunContext(services, "queries"), ())
    return {label: partial(scope.rows, query) for label, query in READERS_QUERIES.items()}


def _query_response(scope: Scope) -> Labelled:
    return measures.query_times("database_query_response", readers_queries(scope.run.services))


MEASURES: Mapping[str, Callable[[Scope], Labelled]] = {
    **common_measures.MEASURES,
    "data_quality_score": _quality_score,
    "data_completeness": _completeness,
    "reconciliation_pass_rate": _pass_rates,
    "tolerance_violations": _violations,
    "return_variance": _variance,
    "vendor_silence": _vendor_silence,
    "last_closed_month": _last_closed_month,
    "months_made_ahead": _months_made_ahead,
    "default_partition_rows": _default_partition,
    "database_cpu": _database_cpu,
    "database_query_response": _query_response,
}
