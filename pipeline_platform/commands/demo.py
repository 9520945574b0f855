"""`pipeline-platform demo`: every pipeline's sample files through Dagster, and every check."""

import logging
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import typer

from pipeline_platform.advisory_performance.automation import (
    WORKFLOW,
    months_to_process,
)
from pipeline_platform.advisory_performance.run_context import shipped_mappings
from pipeline_platform.advisory_performance.samples.arrivals import (
    SampleArrivals,
    SampleRequest,
    generate_arrivals,
)
from pipeline_platform.advisory_performance.tables import PIPELINE, VENDOR_ROWS
from pipeline_platform.commands.dagster import PORT
from pipeline_platform.commands.job_runs import execute_quietly
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
    plain_failures,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.commands.sample import (
    write_event_fault_ledger,
    write_fault_ledger,
    yesterday,
)
from pipeline_platform.definitions import build_defs
from pipeline_platform.operations.automation import cost_job
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events import tables as web_events
from pipeline_platform.web_events.automation import WORKFLOW as WEB_WORKFLOW
from pipeline_platform.web_events.automation import requested_ranges
from pipeline_platform.web_events.samples.events import ACCESS_LOG, generate_events

ACCOUNTS = 10
DAYS = 290
FAULT_RATE = 0.0004


def demo(
    accounts: int = typer.Option(ACCOUNTS, help="Accounts per vendor."),
    days: int = typer.Option(DAYS, help="Business days."),
    as_json: AsJson = False,
) -> None:
    """Take sample files of every pipeline as far as it goes, and evaluate every check."""
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.WARNING)
    started = time.perf_counter()
    with plain_failures():
        settings = Settings.from_env()
        _say(f"Starting PostgreSQL below {settings.home}")
        instance = open_instance(settings)
        with Services(settings) as services:
            made = _sample(services, accounts, days)
            definitions = build_defs(settings, {"services": services})
            results = [_run(definitions, instance, f"{PIPELINE}_months_made_ahead")]
            for what, files in (
                (f"{made.account_day_count} account-days", made.files),
                ("corrections of the last day", made.corrections),
            ):
                _say(f"{len(files)} vendor files arrive: {what}")
                for file in files:
                    services.landing(PIPELINE).put(file.name, file.content)
                results.append(_ingest(definitions, instance))
                results += _process(definitions, instance, services)
            results.append(_run(definitions, instance, f"{PIPELINE}_health"))
            results += _web_events(definitions, instance, services)
            results.append(_run(definitions, instance, cost_job.name))
            failures = _report(services, results, as_json=as_json)
    _say(f"Done in {time.perf_counter() - started:.0f} s.")
    if not as_json:
        console.print(
            f"See it: make dev, then http://127.0.0.1:{PORT} (assets, runs, checks).", markup=False
        )
    if failures:
        errors.print(f"Unexpected failures: {', '.join(failures)}", style="red", markup=False)
        raise typer.Exit(FOUND_FAULTS)


def _sample(services: Services, accounts: int, days: int) -> SampleArrivals:
    """Generate the sample and keep the ledger of its faults."""
    request = SampleRequest(
        accounts=accounts,
        days=days,
        end=yesterday(),
        fault_rate=FAULT_RATE,
        has_file_faults=True,
        has_corrections=True,
    )
    made = generate_arrivals(request, dict(shipped_mappings()))
    ledger = services.settings.home / "sample_faults.csv"
    write_fault_ledger(made, ledger)
    _say(f"Sample vendor files on real market prices, {len(made.faults)} faults in {ledger}")
    return made


def _ingest(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    _say("Landing to bronze")
    return _run(
        definitions, instance, f"{PIPELINE}_ingest", run_config=ingest_config(VENDOR_ROWS, [])
    )


def _process(
    definitions: dg.Definitions, instance: dg.DagsterInstance, services: Services
) -> list[dg.ExecuteInProcessResult]:
    work = months_to_process(services)
    if work is None:
        _say("No month has new rows: all of this was delivered and processed before")
        return []
    pending, first, last = work
    _say(f"Bronze to silver, gold and PostgreSQL: {len(pending)} months, {first} to {last}")
    return [_run(definitions, instance, WORKFLOW, tags=range_tags(first, last))]


def _web_events(
    definitions: dg.Definitions, instance: dg.DagsterInstance, services: Services
) -> list[dg.ExecuteInProcessResult]:
    """Take a real access log and generated events, with faults, to checked silver; in two waves."""
    made = generate_events(yesterday())
    ledger = services.settings.home / "sample_event_faults.csv"
    write_event_fault_ledger(made, ledger)
    _say(f"A real access log and {made.event_count} events, {len(made.faults)} faults in {ledger}")
    *first, last = made.files
    zone = services.landing(web_events.PIPELINE)
    results: list[dg.ExecuteInProcessResult] = []
    log: tuple[str, bytes | Path] = (ACCESS_LOG.name, ACCESS_LOG)
    waves: tuple[tuple[str, list[tuple[str, bytes | Path]]], ...] = (
        ("web events and an access log", [log, *first]),
        ("late web events and copies of others", [last]),
    )
    for what, files in waves:
        _say(f"{len(files)} files arrive: {what}")
        for name, content in files:
            zone.put(name, content)
        everything = ingest_config(web_events.RAW_EVENTS, [])
        job = f"{web_events.PIPELINE}_ingest"
        results.append(_run(definitions, instance, job, run_config=everything))
        for one in requested_ranges(services):
            _say(f"Bronze to silver: {one.first} to {one.last}")
            tags = range_tags(one.first, one.last)
            results.append(_run(definitions, instance, WEB_WORKFLOW, tags=tags))
    results.append(_run(definitions, instance, f"{web_events.PIPELINE}_health"))
    return results


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, **options: Any
) -> dg.ExecuteInProcessResult:
    return execute_quietly(instance, definitions.resolve_job_def(job), **options)


def _report(
    services: Services, results: list[dg.ExecuteInProcessResult], *, as_json: bool
) -> list[str]:
    """Print what was produced and how each check ended; return what should not have failed."""
    checks = {
        (one.asset_key.to_user_string(), one.check_name): one
        for result in results
        for one in result.get_asset_check_evaluations()
    }
    outcomes = Counter(
        str(one.metadata["outcome"].value)
        if "outcome" in one.metadata
        else ("pass" if one.passed else "fail")
        for one in checks.values()
    )
    with services.database.connection() as connection:
        files = connection.execute(
            "SELECT pipeline, status, count(*), sum(records_processed), sum(records_quarantined)"
            " FROM etl_processing_log GROUP BY pipeline, status ORDER BY pipeline, status"
        ).fetchall()
        figures = connection.execute(
            "SELECT data_source, count(*), count(*) FILTER (WHERE reconciliation_status ="
            " 'COMPLETED'), count(*) FILTER (WHERE reconciliation_status = 'BREACH')"
            " FROM performance_data GROUP BY data_source ORDER BY data_source"
        ).fetchall()
    names: tuple[str, ...] = ("pipeline", "status", "files", "records", "quarantined records")
    show_rows("Files", [dict(zip(names, row, strict=True)) for row in files], as_json=as_json)
    names = ("vendor", "account-days served", "completed", "breaches")
    show_rows(
        "performance_data", [dict(zip(names, row, strict=True)) for row in figures], as_json=as_json
    )
    with services.connect() as engine:
        traffic = (
            services.lake.relation(engine, web_events.WEB_EVENTS)
            .aggregate(
                "source, count(*), count(*) FILTER (is_bot), count(DISTINCT visitor_id),"
                " count(DISTINCT session_id), round(avg(data_quality_score), 3)",
                "source",
            )
            .order("source")
            .fetchall()
        )
    names = ("source", "events", "bot events", "visitors", "sessions", "quality score")
    show_rows(
        "web_events", [dict(zip(names, row, strict=True)) for row in traffic], as_json=as_json
    )
    not_passed = [
        {
            "asset": asset,
            "check": name,
            "severity": one.severity.value,
            "why": one.description or "",
        }
        for (asset, name), one in sorted(checks.items())
        if not one.passed
    ]
    show_rows("Checks that did not pass", not_passed, as_json=as_json)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    _say(f"{len(checks)} checks evaluated: {summary}")
    failed_runs = [result.job_def.name for result in results if not result.success]
    errors_found = [
        name for (_, name), one in checks.items()
        if not one.passed and one.severity == dg.AssetCheckSeverity.ERROR
    ]  # fmt: skip
    return failed_runs + errors_found


def _say(sentence: str) -> None:
    errors.print(f"[bold]·[/bold] {sentence}", highlight=False)
