"""`pipeline-platform dbt-operation`: dbt's `run-operation` within the platform's environment."""

from typing import Annotated

import typer

from pipeline_platform.commands.output import FOUND_FAULTS, plain_failures
from pipeline_platform.orchestration.dbt import run_operation
from pipeline_platform.settings import Settings


def dbt_operation(
    name: Annotated[str, typer.Argument(help="A macro, such as check_data_quality_trends.")],
    args: Annotated[
        str, typer.Option(help="Its arguments as YAML: {'table_name': 'web_events'}.")
    ] = "{}",
) -> None:
    """Run an operation of the runbook: check_data_quality_trends, update_table_statistics, ...

    Its answer is printed; the exit code is 1 when it found a fault, 0 with a warning.
    """
    with plain_failures():
        is_fine = run_operation(Settings.from_env(), name, args)
    raise typer.Exit(0 if is_fine else FOUND_FAULTS)
