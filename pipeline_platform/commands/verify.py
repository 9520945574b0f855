"""`pipeline-platform verify`: whether the platform holds together, or a pipeline is well again."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_duration, pipeline_names
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    errors,
    plain_failures,
    services,
    showing_progress,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.commands.verifying import verify_pipeline
from pipeline_platform.failures import BadInputError
from pipeline_platform.orchestration.registration import registration_of
from pipeline_platform.recovery.backup_sets import BackupSets
from pipeline_platform.recovery.integrity import compared_with, look_at_platform
from pipeline_platform.run_context import utc_now
from pipeline_platform.services import Services


def verify(
    pipeline: Annotated[
        str | None, typer.Argument(help="Only whether this pipeline is well: fresh, green.")
    ] = None,
    within: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar="90s|20m|2h",
            help="Wait so long until all of the pipeline is well.",
        ),
    ] = None,
    after_restore: Annotated[
        bool,
        typer.Option(
            "--after-restore", help="Compare with a backup, too: tables, counts, checksums."
        ),
    ] = False,
    backup: Annotated[
        str | None, typer.Option(metavar="ID", help="Which backup; else the newest sound one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look whether all holds together (SA-66), also after a restoration (SW-51); changes nothing.

    Database, files and rows of the lake, contracts, records that add up, positions of streams,
    delivered files, sample queries. With PIPELINE: data fresh, checks green, nothing failed or late
    (SP-26). Exit code 1 if anything is not as it should be.
    """
    if pipeline is not None:
        with plain_failures():
            if after_restore or backup is not None:
                raise BadInputError(
                    "--after-restore and --backup are for all pipelines; name none."
                )
        verify_pipeline(pipeline, within, as_json=as_json)
    with plain_failures():
        if within is not None:
            raise BadInputError("--within waits for a pipeline; name it.")
        if backup is not None and not after_restore:
            raise BadInputError("--backup goes with --after-restore only.")
        with services() as opened, showing_progress(as_json=as_json):
            chosen = None
            if after_restore:
                chosen = compared_with(BackupSets(opened.settings), backup, backup)
            looked = list(
                look_at_platform(opened, utc_now(), queries=sample_queries(opened), backup=chosen)
            )
        rows = [
            {
                "aspect": one.aspect,
                "looked at": f"{one.count} {one.unit}",
                "faults": list(one.faults) if as_json else "\n".join(one.faults) or "none",
            }
            for one in looked
        ]
        show_rows("Verification", rows, as_json=as_json)
    if any(one.faults for one in looked):
        errors.print("Not everything is as it should be.", highlight=False)
        raise typer.Exit(FOUND_FAULTS)


def sample_queries(opened: Services) -> Mapping[str, Callable[[], object]]:
    """Return the sample queries of every pipeline, by pipeline and name."""
    return {
        f"{pipeline}: {name}": ask
        for pipeline in pipeline_names()
        for name, ask in registration_of(pipeline).sample_queries(opened).items()
    }
