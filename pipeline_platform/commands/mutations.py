"""`pipeline-platform mutations`: which damage to a table its checks would not notice (B-15)."""

import uuid
from datetime import date
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_day, pipeline_named
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    show_rows,
    showing_progress,
)
from pipeline_platform.failures import NotFoundError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.orchestration.mart_tests import score_tables
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.measurements import judge
from pipeline_platform.quality.mutation_scores import (
    contracts_of,
    labelled,
    rows_of_scores,
    run_of,
    survivors,
)
from pipeline_platform.runbook import MUTATION_SCORE
from pipeline_platform.services import Services


def mutations(
    pipeline: Annotated[str, typer.Argument(help="Its name or the beginning of it.")],
    table: Annotated[str | None, typer.Option(help="Only this one, such as gold/sessions.")] = None,
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_day, metavar="YYYY-MM-DD", help="Else the newest one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Damage copies of a pipeline's tables and list the damage that no check of theirs notices.

    Published tables and control tables stay as they are. Exit code 1 if, of a table with a
    contract or dbt tests, the share of mutations that are caught is below the runbook's
    `mutation_score`.
    """
    with plain_failures(), services() as opened, showing_progress(as_json=as_json):
        runbook = runbooks()[pipeline_named(pipeline)]
        run = run_of(opened, runbook, f"mutations-{uuid.uuid4().hex[:12]}")
        scores = score_tables(run, _wanted(opened, runbook.pipeline, table), partition)
    if not as_json:
        rows = rows_of_scores(scores)
        show_rows("Mutations that a check caught, in percent", rows, as_json=False)
    show_rows(
        "Damage that no check notices",
        survivors(scores),
        as_json=as_json,
        empty="every mutation is caught.",
    )
    threshold = runbook.thresholds.get(MUTATION_SCORE)
    if threshold is None:
        return
    verdicts = {name: judge(one, threshold) for name, one in labelled(scores).items()}
    for name, verdict in verdicts.items():
        errors.print(f"{name}: {verdict.sentence}", markup=False, highlight=False)
    if any(one.outcome == "fail" for one in verdicts.values()):
        raise typer.Exit(FOUND_FAULTS)


def _wanted(opened: Services, pipeline: str, table: str | None) -> list[Contract]:
    known = contracts_of(opened, pipeline)
    found = [one for one in known if table in (None, one.table)]
    if not found:
        names = ", ".join(one.table for one in known) or "none"
        raise NotFoundError(f"{pipeline} has no table {table!r}; it has: {names}.")
    return found
