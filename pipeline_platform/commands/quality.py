"""`pipeline-platform quality`: judge what is published by its contract, by either engine."""

import importlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
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
from pipeline_platform.quality.contracts import Contract, ExpectationResult
from pipeline_platform.quality.suites import run_suite
from pipeline_platform.quality.validation import validate
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services

app = typer.Typer(help="Data contracts: judge published tables anew.")
Engine = Literal["duckdb", "great-expectations"]


@app.callback()
def contracts() -> None:
    """Judge published tables by their data contracts."""


@app.command()
def audit(
    table: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE]", help="Such as valuations; else all with a contract."),
    ] = None,
    partition: Annotated[
        date | None,
        typer.Option(parser=parse_month, metavar="YYYY-MM", help="Only this month; else all."),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="DuckDB, as runs do, or the second opinion (all in memory).")
    ] = "duckdb",
    as_json: AsJson = False,
) -> None:
    """Judge published rows by their contract; exit code 1 if a rule is broken.

    `make contracts.validate` judges every table by Great Expectations (SP-27).
    """
    with plain_failures(), services() as opened:
        contracts = _contracts()
        wanted = [_one_of(contracts, table)] if table else _published(opened, contracts)
        judged = {one: _judged(opened, contracts[one], partition, engine) for one in wanted}
    found = [
        {
            "table": name,
            "rule": one.rule,
            "outcome": "pass" if one.passed else "fail",
            "severity": one.severity,
            "observed": one.observed,
            "limit": one.limit,
            "sample": [*one.failing_sample] if as_json else len(one.failing_sample),
        }
        for name, results in judged.items()
        for one in results
    ]
    span = f"{partition:%Y-%m}" if partition else "all partitions"
    title = f"{', '.join(wanted) or 'No table'}; {span}, by {engine}"
    show_rows(title, found, as_json=as_json, empty="nothing is published.")
    raise typer.Exit(FOUND_FAULTS if any(one["outcome"] == "fail" for one in found) else 0)


def _judged(
    opened: Services, path: Path, partition: date | None, engine: Engine
) -> list[ExpectationResult]:
    contract = Contract.load(path)
    months = (partition, partition) if partition else None
    judge = validate if engine == "duckdb" else run_suite
    with opened.connect() as connection:
        rows = opened.lake.relation(connection, _table_of(contract), months=months)
        return judge(contract, rows, now=utc_now())


def _published(opened: Services, contracts: Mapping[str, Path]) -> list[str]:
    """Return those whose table was ever published."""
    return [
        name
        for name, path in contracts.items()
        if opened.lake.exists(_table_of(Contract.load(path)))
    ]


def _contracts() -> dict[str, Path]:
    """Return every contract by `pipeline/table`."""
    return {f"{path.parents[1].name}/{path.stem}": path for path in contract_files()}


def _one_of(contracts: Mapping[str, Path], table: str) -> str:
    """Return the name of a table's contract (`pipeline/table` where two have one)."""
    found = [name for name in contracts if table in (name, name.split("/")[1])]
    if len(found) != 1:
        raise NotFoundError(
            f"{table!r} is not one table with a contract; choose from "
            f"{', '.join(found or contracts)}."
        )
    return found[0]


def _table_of(contract: Contract) -> LakeTable:
    """Return the declaration of the table that a contract is about."""
    pipeline = contract.asset.split("/")[0]
    declared = importlib.import_module(f"pipeline_platform.{pipeline}.tables")
    for one in vars(declared).values():
        if isinstance(one, LakeTable) and "/".join(one.asset_key) == contract.asset:
            return one
    raise NotFoundError(f"No table of {pipeline}.tables is the asset {contract.asset}.")
