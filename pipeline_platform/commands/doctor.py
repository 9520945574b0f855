"""`pipeline-platform doctor`: which layer of the way to which service fails (SA-55, SA-65)."""

import typer

from pipeline_platform.commands.arguments import pipeline_names
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, errors, plain_failures
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.operations.doctor import examine
from pipeline_platform.settings import Settings


def doctor(as_json: AsJson = False) -> None:
    """Try the way to everything that the settings name, layer by layer; exit code 1 if one fails.

    Name, TCP, TLS, login and permission of database, landing zones, archive, lake, arrivals queue
    and events stream. Of each the first layer that fails is the cause; what comes after it is not
    tried.
    """
    with plain_failures():
        found = list(examine(Settings.from_env(), pipeline_names()))
        rows = [
            {
                "service": one.service,
                "layer": one.layer.name,
                "is": "ok" if one.layer.is_ok else "FAILS",
                "ms": one.layer.milliseconds,
                "detail": one.layer.detail,
            }
            for one in found
        ]
        show_rows("The way to each service", rows, as_json=as_json)
        failing = [one for one in found if not one.layer.is_ok]
        for one in failing:
            errors.print(f"{one.service}: {one.layer.name}. {one.layer.detail}", markup=False)
    raise typer.Exit(FOUND_FAULTS if failing else 0)
