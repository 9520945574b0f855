"""`pipeline-platform dev`, `daemon` and `validate`: Dagster, told where its storage is."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    errors,
    plain_failures,
    show_rows,
)
from pipeline_platform.commands.serve import PORT as API_PORT
from pipeline_platform.orchestration.daemons import heartbeats
from pipeline_platform.orchestration.instance import ROOT, instance_environment, open_instance
from pipeline_platform.run_context import utc_now
from pipeline_platform.settings import Settings

PORT = 3000


def dev(
    port: int = typer.Option(PORT, help="Port of the UI."),
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    api_port: int = typer.Option(API_PORT, help="Port of the HTTP service; 0 starts none."),
) -> None:
    """Run Dagster's UI and daemon, and the HTTP service beside them, until Ctrl-C.

    This process becomes Dagster's, so that a signal sent to it ends what it started; the service
    sees that it has ended and ends, too.
    """
    with plain_failures():
        settings = Settings.from_env()
        home = str(settings.home)
        environment = instance_environment(settings) | {"PLATFORM_HOME": home}
    console.print(f"Dagster's UI will answer on http://{host}:{port} (Ctrl-C ends it).")
    os.chdir(ROOT)
    if api_port:
        program = [str(Path(sys.executable).with_name("pipeline-platform")), "serve"]
        options = ["--with-parent", "--host", host, "--port", str(api_port)]
        subprocess.Popen([*program, *options], env={**os.environ, "PLATFORM_HOME": home})
    command = [_dagster(), "dev", "-w", "workspace.yaml", "-h", host, "-p", str(port)]
    told = {"PLATFORM_API_URL": f"http://{host}:{api_port}"} if api_port else {}
    os.execve(command[0], command, {**told, **os.environ, **environment})  # noqa: S606 -- ours


def daemon(
    workspace: Annotated[
        Path, typer.Option(help="What it loads.", exists=True, dir_okay=False)
    ] = ROOT / "workspace.yaml",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how its parts are; start nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run Dagster's daemon alone until Ctrl-C: sensors, schedules, the queue and watching runs.

    Start one only. The dry run tells when each part last said that it lives; exit code 1 if one
    is silent.
    """
    with plain_failures():
        settings = Settings.from_env()
        if dry_run:
            with open_instance(settings) as instance:
                now = utc_now()
                rows = [
                    {
                        "part": one.daemon,
                        "last sign of life (UTC)": one.beat_at,
                        "seconds ago": age,
                        "is": "silent" if one.is_silent(now) else "alive",
                    }
                    for one in heartbeats(instance)
                    for age in (one.age_seconds(now),)
                ]
            show_rows("Dagster's daemon", rows, as_json=as_json)
            raise typer.Exit(FOUND_FAULTS if any(row["is"] == "silent" for row in rows) else 0)
        environment = instance_environment(settings) | {"PLATFORM_HOME": str(settings.home)}
    command = [_dagster("dagster-daemon"), "run", "-w", str(workspace.absolute())]
    console.print("Dagster's daemon starts (Ctrl-C ends it).")
    os.chdir(ROOT)
    os.execve(command[0], command, {**os.environ, **environment})  # noqa: S606 -- ours


def validate() -> None:
    """Load every definition as Dagster would, without any service."""
    command = [_dagster(), "definitions", "validate", "-w", str(ROOT / "workspace.yaml")]
    with TemporaryDirectory() as empty_home:
        # The instance of dagster.yaml needs a database; loading definitions must not.
        environment = {**os.environ, "DAGSTER_HOME": empty_home, "PYTHONWARNINGS": "ignore"}
        finished = subprocess.run(
            command, cwd=empty_home, env=environment, check=False, capture_output=True, text=True
        )
    if finished.returncode:
        errors.print(finished.stdout + finished.stderr, markup=False)
        raise typer.Exit(1)
    console.print("All definitions load.")


def _dagster(program: str = "dagster") -> str:
    return str(Path(sys.executable).with_name(program))
