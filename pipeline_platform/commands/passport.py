"""`pipeline-platform passport`: from what is served back to the line it came from (B-8)."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import parse_day, pipeline_named
from pipeline_platform.commands.output import AsJson, plain_failures, services
from pipeline_platform.commands.pipelines import ADVISORY, Pipeline
from pipeline_platform.commands.printing import show_facts, show_rows
from pipeline_platform.failures import BadInputError
from pipeline_platform.orchestration.registration import registration_of


def passport(
    key: Annotated[str, typer.Argument(help="What is served: an account's number, an event's id.")],
    day: Annotated[
        date | None, typer.Argument(parser=parse_day, metavar="YYYY-MM-DD", help="Of which day.")
    ] = None,
    pipeline: Pipeline = ADVISORY,
    as_json: AsJson = False,
) -> None:
    """Trace what is served: its row, its versions, file, line, hash and runs."""
    show_passport(pipeline, key, day, as_json=as_json)


def show_passport(pipeline: str, key: str, day: date | None, *, as_json: bool) -> None:
    """Print the passport of something that a pipeline serves."""
    with plain_failures(), services() as opened:
        name = pipeline_named(pipeline)
        tell = registration_of(name).passport
        if tell is None:
            raise BadInputError(f"The registration of {name} has no passport.")
        found = tell(opened, key, day)
        if as_json:
            show_facts("Passport", found.document, as_json=True)
            return
        for title, rows in found.sections:
            if isinstance(rows, Mapping):
                show_facts(title, rows, as_json=False)
            else:
                show_rows(title, rows, as_json=False, empty="nothing (yet).")
