"""`pipeline-platform cloudwatch`: alarms, dashboards and figures of the runbooks, in AWS."""

from typing import Annotated

import typer

from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.commands.output import (
    AsJson,
    console,
    plain_failures,
    services,
    show_rows,
)
from pipeline_platform.operations import cloudwatch
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.run_context import utc_now
from pipeline_platform.runbook import Runbook
from pipeline_platform.settings import Settings

app = typer.Typer(
    help="CloudWatch: alarms, dashboards and figures of the runbooks.", no_args_is_help=True
)
OnlyPipeline = Annotated[str | None, typer.Option("--pipeline", help="Only this pipeline's.")]


@app.command()
def apply(
    pipeline: OnlyPipeline = None,
    topic: Annotated[
        str | None, typer.Option(help="ARN of the SNS topic that alarms tell; else nobody.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would be changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make alarms and dashboards as the runbooks say, and remove ours that no runbook has (SA-10).

    Doing it again changes nothing. Alarms that were made otherwise stay.
    """
    with plain_failures():
        settings = Settings.from_env()
        do = cloudwatch.changes if dry_run else cloudwatch.apply
        rows = [
            {
                "pipeline": one.pipeline,
                "kind": change.kind,
                "name": change.name,
                "do": change.action,
            }
            for one in _chosen(pipeline)
            for change in do(settings, one, topic)
        ]
        changed = [row for row in rows if row["do"] != "keep"]
        show_rows(
            "CloudWatch, dry run" if dry_run else "CloudWatch",
            rows if as_json else changed,
            as_json=as_json,
            empty="everything is as the runbooks say.",
        )


@app.command()
def publish(pipeline: OnlyPipeline = None) -> None:
    """Send what each check observed last, and the rows of closed days (SA-6, SW-65)."""
    with plain_failures(), services() as opened:
        for one in _chosen(pipeline):
            now = utc_now()
            checks = cloudwatch.publish_checks(opened, one, now)
            days = cloudwatch.publish_days(opened, one, now.date())
            console.print(
                f"{one.pipeline}: {checks} figures and {days} days sent to "
                f"{one.cloudwatch.namespace}.",
                markup=False,
                highlight=False,
            )


def _chosen(pipeline: str | None) -> list[Runbook]:
    known = runbooks()
    return [known[pipeline_named(pipeline)]] if pipeline else list(known.values())
