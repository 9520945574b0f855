"""`pipeline-platform`: one command for each thing that an operator does."""

import sys
import traceback

try:
    import typer

    from pipeline_platform.commands import (
        alerts,
        backups,
        bots,
        capacity,
        cloudwatch,
        cost,
        dagster,
        database,
        database_activity,
        dbt_operation,
        demo,
        diagnose,
        doctor,
        errors,
        explanation,
        generate,
        history,
        impact,
        incidents,
        landing,
        lineage,
        logs,
        maintenance,
        marts,
        mutations,
        partitions,
        passport,
        quality,
        quarantine,
        queries,
        recovery,
        report_pages,
        reports,
        rerun,
        restoring,
        retention,
        run_details,
        run_ending,
        runbook,
        sample,
        security,
        serve,
        stopping,
        undo,
        vendor,
        verify,
        web,
    )
    from pipeline_platform.commands.command_log import logged_command
    from pipeline_platform.commands.output import CRASHED
except KeyboardInterrupt:
    sys.exit(130)  # Ctrl-C before there is a command that could end by itself

app = typer.Typer(
    help="The data platform: run the demo, look at what arrived, mend what is broken.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo.demo)
app.command()(dagster.dev)
app.command()(dagster.daemon)
app.command()(dagster.validate)
app.command()(generate.generate)
app.command("dashboards", hidden=True)(generate.generate)
app.command()(serve.serve)
app.command()(serve.token)
app.command()(passport.passport)
app.command()(cost.cost)
app.command()(history.runs)
app.command()(history.check)
app.command()(errors.errors)
app.command()(errors.slowest)
app.command()(logs.logs)
app.command()(rerun.rerun)
app.command()(rerun.watch)
app.command()(impact.impact)
app.command()(explanation.explain)
app.command()(doctor.doctor)
app.command()(diagnose.diagnose)
app.command("morning-check")(report_pages.morning)
app.command("partition-status")(history.partition_status)
app.command()(dbt_operation.dbt_operation)
app.command()(capacity.capacity)
app.command()(mutations.mutations)
app.command()(maintenance.optimize)
app.command()(retention.retention)
app.command()(restoring.restore)
app.command()(recovery.recover)
app.command()(recovery.drill)
app.command()(verify.verify)
app.command()(undo.undo)
app.add_typer(alerts.app, name="alerts")
app.add_typer(incidents.app, name="incidents")
app.add_typer(bots.app, name="bots")
app.add_typer(cloudwatch.app, name="cloudwatch")
app.add_typer(landing.app, name="landing")
app.add_typer(lineage.app, name="lineage")
app.add_typer(partitions.app, name="partitions")
app.add_typer(marts.app, name="marts")
app.add_typer(stopping.app, name="pipelines")
app.add_typer(quality.app, name="quality")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(queries.app, name="queries")
app.add_typer(runbook.app, name="runbook")
app.add_typer(vendor.app, name="vendor")
app.add_typer(web.app, name="web")
app.add_typer(reports.app, name="reports")
app.add_typer(maintenance.app, name="maintenance")
app.add_typer(backups.app, name="backup")
app.add_typer(database.app, name="database")
app.add_typer(database_activity.app, name="db")
run_details.app.command()(run_ending.end)
app.add_typer(run_details.app, name="run")
app.add_typer(sample.app, name="sample")
app.add_typer(security.app, name="security")


def main() -> None:
    """Run the command line; what was run, and how it ended, is a line of the log.

    A fault of the program itself ends with a code of its own, lest a script take it for what was
    checked not being well.
    """
    try:
        with logged_command(app):
            app()
    except Exception:
        traceback.print_exc()
        sys.exit(CRASHED)
