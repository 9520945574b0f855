"""`pipeline-platform doctor`: which layer of the way to which service fails (SA-55, SA-65)."""

from typing import Annotated, Literal

import typer

from pipeline_platform.commands.arguments import pipeline_names
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, errors, plain_failures
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.operations.doctor import examine
from pipeline_platform.settings import Settings

ACCESS = ("identity", "login", "permission", "use", "read", "write")
"""Layers that say who we are and what we may do."""


def doctor(
    what: Annotated[
        Literal["everything", "access"], typer.Argument(help="`access`: only who may do what.")
    ] = "everything",
    as_json: AsJson = False,
) -> None:
    """Try the way to everything that the settings name, layer by layer; exit code 1 if one fails.

    Name, TCP, TLS, login and permission of database, landing zones, archive, lake, arrivals queue
    and events stream, and an empty export to an OpenTelemetry collector (SP-30). Of each the first
    layer that fails is the cause; what comes after it is not tried. With `access` (SW-17, SP-23)
    layers before the login are shown only where they fail.
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
            if what == "everything" or one.layer.name in ACCESS or not one.layer.is_ok
        ]
        show_rows("The way to each service", rows, as_json=as_json)
        failing = [one for one in found if not one.layer.is_ok]
        for one in failing:
            errors.print(f"{one.service}: {one.layer.name}. {one.layer.detail}", markup=False)
    raise typer.Exit(FOUND_FAULTS if failing else 0)
