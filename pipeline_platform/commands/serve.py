"""`pipeline-platform serve` and `token`: the HTTP service, and who may use it."""

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline_platform.commands.output import console, plain_failures
from pipeline_platform.failures import BadInputError, InvalidSettingError
from pipeline_platform.settings import TOKENS, Settings

if TYPE_CHECKING:
    from pipeline_platform.api.platform import Platform
    from pipeline_platform.commands.code_location import CodeLocation

PORT = 4020
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
MOST_CONNECTIONS = 256
IDLE_SECONDS = 15
STOP_SECONDS = 10


def serve(
    port: Annotated[int, typer.Option(help="Port of the service.")] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when the process that started it ends.")
    ] = False,
) -> None:
    """Answer over HTTP: health, metrics, pipelines, quality reports, stop and resume (SC-1).

    The OpenAPI page is at /docs. Without PLATFORM_API_TOKENS it only reads, on this machine only.
    """
    import uvicorn  # noqa: PLC0415 -- slow imports that other commands do not need

    from pipeline_platform.api.app import create_app  # noqa: PLC0415
    from pipeline_platform.commands.code_location import code_location  # noqa: PLC0415
    from pipeline_platform.warehouse.stops import register_pipelines  # noqa: PLC0415

    with plain_failures():
        if Settings.from_env().api_tokens is None and host not in _LOOPBACK:
            raise InvalidSettingError(
                f"The service may listen on {host} only if PLATFORM_API_TOKENS is set; "
                "`pipeline-platform token NAME --role ROLE` makes an entry."
            )
    with code_location() as location:
        platform = platform_at(location)
        with location.services.database.transaction() as connection:
            register_pipelines(connection, platform.pipelines)
        app = create_app(platform)
        console.print(f"The HTTP service answers on http://{host}:{port} (/docs describes it).")
        if with_parent:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        uvicorn.run(
            app,
            host=host,
            port=port,
            access_log=False,
            log_level=logging.WARNING,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )


def platform_at(location: "CodeLocation") -> "Platform":
    """Return what the HTTP service works with."""
    from pipeline_platform.api.platform import Platform  # noqa: PLC0415
    from pipeline_platform.operations.plan import runbooks  # noqa: PLC0415
    from pipeline_platform.orchestration.launching import Workflows  # noqa: PLC0415

    return Platform(
        services=location.services,
        history=location.history,
        workflows=Workflows(location.definitions, location.instance),
        recorder=location.recorder,
        runbooks=runbooks(),
    )


def token(
    name: Annotated[str, typer.Argument(help="Whose it is: a person or a program.")],
    role: Annotated[
        Literal["read", "operate", "admin"], typer.Option(help="What it allows.")
    ] = "read",
) -> None:
    """Make a token for the HTTP service; it is shown once and kept nowhere."""
    from pipeline_platform.api.tokens import new_token  # noqa: PLC0415

    with plain_failures():
        made, entry = new_token(name, role)
        if not TOKENS.fullmatch(entry):
            raise BadInputError(
                f"{name!r} can't be a name: write lower-case letters, digits, - and _."
            )
    console.print(f"token: {made}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"add to PLATFORM_API_TOKENS: {entry}", markup=False, highlight=False, soft_wrap=True
    )


def _end_with(parent: int) -> None:
    """End this process as Ctrl-C would, once its parent is another one."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
