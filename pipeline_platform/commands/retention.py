"""`pipeline-platform retention`: what is kept for how long, what would go, and letting it go."""

import uuid
from typing import Annotated

import typer

from pipeline_platform.commands.audit import acting
from pipeline_platform.commands.code_location import code_location
from pipeline_platform.commands.output import FOUND_FAULTS, AsJson, console, errors
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.operations.retention import Retention, row_of
from pipeline_platform.orchestration.maintenance import unfinished_runs
from pipeline_platform.orchestration.run_retention import OldRuns
from pipeline_platform.run_context import utc_now


def retention(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; this is the default.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Let it go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how old everything is that is kept, and what is past its limit (SA-45, XC-8, X-7).

    Landing archive and quarantine, snapshots, temporary files, control tables, pages, Dagster's
    runs and events. Limits stand in the runbooks and in operations.yaml. Exit code 1 if a place
    failed; the others are done.
    """
    with code_location() as location:
        if dry_run and apply:
            raise BadInputError("Choose one of --dry-run and --apply.")
        instance = location.instance
        wanted = Retention.of(
            location.services,
            utc_now(),
            f"retention-{uuid.uuid4().hex[:12]}",
            OldRuns(instance),
            lambda: unfinished_runs(instance),
        )
        if apply:
            location.recorder.record_ended(location.services)  # what goes must have been counted
        with acting(location.services, "retain", "every place", dry_run=not apply) as action:
            found = list(wanted.apply() if apply else wanted.look())
            action.state_after = {one.place: one.removed for one in found if one.removed}
        rows = [row_of(one) for one in found]
        show_rows("Retention", rows, as_json=as_json)
        if not as_json and not apply:
            console.print("Nothing was changed; --apply lets it go.", highlight=False)
        if any(one.failure for one in found):
            errors.print("Not every place could be looked at or cleaned; see `what`.")
            raise typer.Exit(FOUND_FAULTS)
