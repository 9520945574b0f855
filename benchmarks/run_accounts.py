"""The accounts of one run: which functions are our own work, and what the rest is called.

Shared by a run in this process and by one that a launcher forked. Preloaded in the fork server as
`benchmarks.accounted_fork`, it divides the time of each forked run into these accounts.
"""

import atexit
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.spans import Spans

OWN_WORK = "own work"
DBT_START = "dbt: start, parse, compile"
DAGSTER = "Dagster: plan, events, steps"
IMPORTS = "other imports on first use"
INSTANCE = "open instance"
END = "(process end, after it has answered)"


def account_for_work(spans: Spans) -> None:
    """Put the accounts around the functions that a run calls."""
    from pipeline_platform.advisory_performance import assets, checks, refinement
    from pipeline_platform.lake.lake import Lake
    from pipeline_platform.orchestration import dbt, mart_builds, marts, threshold_checks
    from pipeline_platform.quality import suites
    from pipeline_platform.services import Services

    spans.wrap(Services, "database", "connect to PostgreSQL, migrations")
    spans.wrap(Lake, "open", "open catalog")
    spans.wrap(suites, "_context", "Great Expectations: import, context")
    spans.wrap(suites, "_modules", "Great Expectations: import, context")
    for name in ("stage_months", "publish_months"):
        spans.wrap(refinement, name, OWN_WORK)
    for name in ("measure_range", "reconcile_range", "compare_versions", "serve_months"):
        spans.wrap(assets, name, OWN_WORK)
    spans.wrap(mart_builds, "publish_marts", OWN_WORK)
    spans.wrap(marts, "pruning_of", OWN_WORK)
    spans.wrap(checks, "measure", OWN_WORK)
    for name in ("record_verdict", "record_issues"):
        spans.wrap(threshold_checks, name, OWN_WORK)
    spans.wrap(dbt, "start_dbt_run", OWN_WORK)
    build_models = vars(mart_builds)["build_models"]

    def accounted_build(*arguments: Any, **options: Any) -> Any:
        with spans.inside("dbt: import"):
            from dbt.cli.main import dbtRunner
        _watch_nodes(spans, dbtRunner)
        with spans.inside(DBT_START):
            return build_models(*arguments, **options)

    vars(mart_builds)["build_models"] = accounted_build
    spans.watch_imports(IMPORTS, during={OWN_WORK, DAGSTER})


def _watch_nodes(spans: Spans, runner: Any) -> None:
    """Charge what dbt reports as execution of models and tests to our own work."""
    if hasattr(runner, "is_watched"):
        return
    runner.is_watched = True
    invoke = runner.invoke

    def measured(*arguments: Any, **options: Any) -> Any:
        result = invoke(*arguments, **options)
        spans.move(_seconds_building(getattr(result.result, "results", ())), DBT_START, OWN_WORK)
        return result

    runner.invoke = measured


def _seconds_building(nodes: Iterable[Any]) -> float:
    """Return for how long at least one model or test was compiled or executed."""
    stretches = sorted(
        (timing.started_at, timing.completed_at) for node in nodes for timing in node.timing
    )
    seconds, until = 0.0, None
    for started_at, completed_at in stretches:
        start = started_at if until is None else max(started_at, until)
        if completed_at > start:
            seconds += (completed_at - start).total_seconds()
            until = completed_at
    return seconds


def accounts_file(folder: Path, run_id: str) -> Path:
    """Return where a forked run leaves its accounts."""
    return folder / f"accounts-{run_id}.json"


def account_for_forks() -> None:
    """Divide the time of every process forked from this one; each writes its accounts at its end.

    What comes after the run's last event is kept apart: nobody waits for it.
    """
    from dagster import DagsterInstance
    from dagster._core.events import DagsterEventType

    spans = Spans(DAGSTER, time.perf_counter())
    account_for_work(spans)
    spans.wrap(DagsterInstance, "from_ref", INSTANCE)
    handle_new_event = DagsterInstance.handle_new_event
    run_ids = []

    def noticed(self: DagsterInstance, event: Any, **options: Any) -> None:
        handle_new_event(self, event, **options)
        if event.dagster_event_type == DagsterEventType.PIPELINE_SUCCESS:
            spans.then(END)
            run_ids.append(event.run_id)

    DagsterInstance.handle_new_event = noticed  # type: ignore[method-assign]

    def leave() -> None:
        if run_ids:
            spent = os.times()
            helpers = spent.children_user + spent.children_system
            path = accounts_file(Path(os.environ["PLATFORM_HOME"]), run_ids[0])
            unfinished = path.with_suffix(".part")
            unfinished.write_text(json.dumps({**spans.finish(), "helpers": helpers}), "utf-8")
            unfinished.replace(path)

    os.register_at_fork(after_in_child=lambda: spans.restart(DAGSTER))
    atexit.register(leave)
