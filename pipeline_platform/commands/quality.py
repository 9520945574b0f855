"""`pipeline-platform quality`: judge what is published by its contract, by either engine."""

import importlib
from datetime import date
from typing import Annotated, Literal

import typer

from pipeline_platform.commands.arguments import parse_month
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    plain_failures,
    services,
    show_rows,
)
from pipeline_platform.failures import NotFoundError
from pipeline_platform.lake.tables import LakeTable
from pipeline_platform.pipeline_folders import contract_files
from pipeline_platform.quality.contracts import Contract
from pipeline_platform.quality.suites import run_suite
from pipeline_platform.quality.validation import validate
from pipeline_platform.run_context import utc_now

app = typer.Typer(help="Data contracts: judge published tables anew.")
Engine = Literal["duckdb", "great-expectations"]


@app.callback()
def contracts() -> None:
    """Judge published tables by their data contracts."""


@app.command()
def audit(
    table: Annotated[str, typer.Argument(help="A table with a contract, such as valuations.")],
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_month, metavar="YYYY-MM", help="Only this month; else all."),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="DuckDB, as runs do, or the second opinion (all in memory).")
    ] = "duckdb",
    as_json: AsJson = False,
) -> None:
    """Judge the published rows of a table by its contract; exit code 1 if a rule is broken."""
    with plain_failures(), services() as opened, opened.connect() as connection:
        contract, declared = _contract_of(table)
        months = (partition, partition) if partition else None
        rows = opened.lake.relation(connection, declared, months=months)
        judge = validate if engine == "duckdb" else run_suite
        results = judge(contract, rows, now=utc_now())
    found = [
        {
            "rule": one.rule,
            "outcome": "pass" if one.passed else "fail",
            "severity": one.severity,
            "observed": one.observed,
            "limit": one.limit,
            "sample": [*one.failing_sample] if as_json else len(one.failing_sample),
        }
        for one in results
    ]
    span = f"{partition:%Y-%m}" if partition else "all partitions"
    show_rows(f"{declared.pipeline} {table}, {span}, by {engine}", found, as_json=as_json)
    raise typer.Exit(0 if all(one.passed for one in results) else FOUND_FAULTS)


def _contract_of(table: str) -> tuple[Contract, LakeTable]:
    """Return the contract of a table (`pipeline/table` where two have one) and its declaration."""
    paths = {f"{path.parents[1].name}/{path.stem}": path for path in contract_files()}
    found = [name for name in paths if table in (name, name.split("/")[1])]
    if len(found) != 1:
        raise NotFoundError(
            f"{table!r} is not one table with a contract; choose from {', '.join(found or paths)}."
        )
    contract = Contract.load(paths[found[0]])
    pipeline = contract.asset.split("/")[0]
    declared = importlib.import_module(f"pipeline_platform.{pipeline}.tables")
    for one in vars(declared).values():
        if isinstance(one, LakeTable) and "/".join(one.asset_key) == contract.asset:
            return contract, one
    raise NotFoundError(f"No table of {pipeline}.tables is the asset {contract.asset}.")
