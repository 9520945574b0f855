"""`pipeline-platform security review`: access, encryption, rotation, audit trails and tags."""

import typer

from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    plain_failures,
    services,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.operations.security import worst_first
from pipeline_platform.operations.security_assets import rows_of
from pipeline_platform.operations.security_reviews import review
from pipeline_platform.run_context import utc_now

app = typer.Typer(help="Security: reviews of access, encryption, rotation.", no_args_is_help=True)


@app.callback()
def security() -> None:
    """Group the commands."""


@app.command("review")
def review_now(as_json: AsJson = False) -> None:
    """Review now, keep the result and show it; exit code 1 if something fails (XC-12).

    Of AWS only what the runbooks name, and only with PLATFORM_SECURITY_SOURCE=aws; else that part
    is not measurable. Policies are compared with the review of the month before.
    """
    with plain_failures(), services() as opened:
        done = review(opened, utc_now())
        found = worst_first(done.findings)
        show_rows("Security", [rows_of(one) for one in found], as_json=as_json)
        if not as_json:
            then = done.compared_with
            told = "no earlier review" if then is None else f"the review of {then:%Y-%m-%d}"
            console.print(f"Compared with {told}.", highlight=False)
    raise typer.Exit(FOUND_FAULTS if any(one.outcome == "fail" for one in found) else 0)
