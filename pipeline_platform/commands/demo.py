"""`pipeline-platform demo`: every pipeline's sample files through Dagster, and every check."""

import logging
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
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
from pipeline_platform.commands.demo_checks import unexpected_outcomes
from pipeline_platform.commands.job_runs import execute_quietly
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
    plain_failures,
)
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.commands.sample import (
    write_event_fault_ledger,
    write_fault_ledger,
    yesterday,
)
from pipeline_platform.commands.sample_faults import event_differences, vendor_differences
from pipeline_platform.definitions import build_defs
from pipeline_platform.operations.automation import MUTATIONS, cost_job, security_job
from pipeline_platform.orchestration.automation import range_tags
from pipeline_platform.orchestration.history import CheckState, History
from pipeline_platform.orchestration.instance import open_instance
from pipeline_platform.orchestration.landing import ingest_config
from pipeline_platform.services import Services
from pipeline_platform.settings import Settings
from pipeline_platform.web_events import tables as web_events
from pipeline_platform.web_events.automation import WORKFLOW as WEB_WORKFLOW
from pipeline_platform.web_events.automation import requested_ranges
from pipeline_platform.web_events.samples.events import ACCESS_LOG, SampleEvents, generate_events

ACCOUNTS = 10
DAYS = 290
FAULT_RATE = 0.0004


def demo(
    accounts: int = typer.Option(ACCOUNTS, help="Accounts per vendor."),
    days: int = typer.Option(DAYS, help="Business days."),
    as_json: AsJson = False,
) -> None:
    """Take sample files of every pipeline as far as it goes, and evaluate every check.

    Exit code 1 if a run failed, if a check ended otherwise than it must on the sample or was not
    evaluated, or if what was caught differs from the sample's ledger of faults.
    """
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.WARNING)
    started = time.perf_counter()
    with plain_failures():
        settings = Settings.from_env()
        _say(f"Starting PostgreSQL below {settings.home}")
        instance = open_instance(settings)
        with Services(settings) as services:
            made = _sample(services, accounts, days)
            events = _sample_events(services)
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
            results += _web_events(definitions, instance, services, events)
            for job in (cost_job, security_job, *MUTATIONS.values()):
                results.append(_run(definitions, instance, job.name))
            states = _check_states(definitions, instance)
            unexpected = [
                *_failed(results),
                *unexpected_outcomes(
                    ((asset, one.name, one.outcome) for asset, one in states),
                    is_small=accounts < ACCOUNTS or days < DAYS,
                ),
                *vendor_differences(services, made),
                *event_differences(services, events),
            ]
            _show(_tables(services), states, unexpected, as_json=as_json)
    _say(f"Done in {time.perf_counter() - started:.0f} s.")
    if not as_json:
        console.print(
            f"See it: make dev, then http://127.0.0.1:{PORT} (assets, runs, checks).", markup=False
        )
    if unexpected:
        errors.print("Not as the sample must end:", style="red")
        for one in unexpected:
            errors.print(f"  {one}", style="red", markup=False)
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


def _sample_events(services: Services) -> SampleEvents:
    """Generate events and keep the ledger of their faults."""
    made = generate_events(yesterday())
    ledger = services.settings.home / "sample_event_faults.csv"
    write_event_fault_ledger(made, ledger)
    _say(f"Sample events: {made.event_count}, {len(made.faults)} faults in {ledger}")
    return made


def _web_events(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    services: Services,
    made: SampleEvents,
) -> list[dg.ExecuteInProcessResult]:
    """Take a real access log and generated events, with faults, to checked silver; in two waves."""
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


def _failed(results: list[dg.ExecuteInProcessResult]) -> list[str]:
    return [f"run of {one.job_def.name} failed" for one in results if not one.success]


def _tables(services: Services) -> dict[str, list[dict[str, object]]]:
    """Return what was produced, by table."""
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
    columns: dict[str, tuple[Sequence[Sequence[object]], tuple[str, ...]]] = {
        "files": (files, ("pipeline", "status", "files", "records", "quarantined records")),
        "performance_data": (
            figures,
            ("vendor", "account-days served", "completed", "breaches"),
        ),
        "web_events": (
            traffic,
            ("source", "events", "bot events", "visitors", "sessions", "quality score"),
        ),
    }
    return {
        table: [dict(zip(names, row, strict=True)) for row in rows]
        for table, (rows, names) in columns.items()
    }


def _check_states(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> list[tuple[str, CheckState]]:
    """Return every declared check with its asset and how it was last evaluated."""
    graph = definitions.resolve_asset_graph()
    keys = sorted(graph.asset_check_keys, key=str)
    states = History(graph, instance).checks(keys)
    return [
        (key.asset_key.to_user_string(), state) for key, state in zip(keys, states, strict=True)
    ]


def _show(
    tables: Mapping[str, list[dict[str, object]]],
    states: Sequence[tuple[str, CheckState]],
    unexpected: Sequence[str],
    *,
    as_json: bool,
) -> None:
    not_passed = [
        {
            "asset": asset,
            "check": one.name,
            "outcome": one.outcome,
            "severity": one.severity,
            "why": one.description,
        }
        for asset, one in states
        if one.outcome != "pass"
    ]
    outcomes = Counter(one.outcome or "not evaluated" for _, one in states)
    if as_json:
        show_facts(
            "Demo",
            {
                **tables,
                "checks": dict(outcomes),
                "not_passed": not_passed,
                "unexpected": list(unexpected),
            },
            as_json=True,
        )
    else:
        for title, rows in tables.items():
            show_rows(title, rows, as_json=False)
        show_rows("Checks that did not pass", not_passed, as_json=False)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    _say(f"{len(states)} checks: {summary}")


def _say(sentence: str) -> None:
    errors.print(f"[bold]·[/bold] {sentence}", highlight=False)
