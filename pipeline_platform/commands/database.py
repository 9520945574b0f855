"""`pipeline-platform database`: start, stop, status, migrate and check the serving database."""

import typer

from pipeline_platform.commands.output import AsJson, console, plain_failures
from pipeline_platform.commands.printing import show_facts
from pipeline_platform.settings import Settings
from pipeline_platform.warehouse import embedded
from pipeline_platform.warehouse.database import connect, database_url
from pipeline_platform.warehouse.migrations import migrate as apply_migrations
from pipeline_platform.warehouse.migrations import rollback

app = typer.Typer(help="The serving database: the embedded server, or the one of the settings.")


@app.command()
def start() -> None:
    """Start the embedded PostgreSQL, if the settings name no other."""
    with plain_failures():
        connect(database_url(Settings.from_env())).close()
        console.print("The database answers.")


@app.command()
def stop() -> None:
    """Stop the embedded PostgreSQL; its data stay."""
    with plain_failures():
        was_running = embedded.stop(Settings.from_env())
        console.print("Stopped." if was_running else "It was not running.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether the embedded PostgreSQL runs, and where."""
    with plain_failures():
        found = embedded.status(Settings.from_env())
        facts = {
            "is_running": found.is_running,
            "port": found.port,
            "process": found.pid,
            "data": str(found.data_directory),
        }
        show_facts("Embedded PostgreSQL", facts, as_json=as_json)
        if not found.is_running:
            raise typer.Exit(1)


@app.command()
def migrate(to: int | None = None) -> None:
    """Bring the schema up to date, or back to version `--to`."""
    with plain_failures():
        url = database_url(Settings.from_env())
        changed = apply_migrations(url) if to is None else rollback(url, to)
        verb = "Applied" if to is None else "Undone"
        console.print(f"{verb}: {', '.join(map(str, changed)) or 'nothing, it was up to date'}.")
