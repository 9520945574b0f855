"""`pipeline-platform runbook`: what a pipeline's runbook would do if a limit were another one."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer

from pipeline_platform.commands.arguments import pipeline_named
from pipeline_platform.commands.output import (
    FOUND_FAULTS,
    AsJson,
    console,
    plain_failures,
    services,
    show_facts,
)
from pipeline_platform.commands.printing import show_rows
from pipeline_platform.failures import BadInputError, NotFoundError
from pipeline_platform.operations.plan import runbooks
from pipeline_platform.quality.backtest import (
    LEAST_OBSERVATIONS,
    LEAST_SPAN,
    Backtest,
    Difference,
    Firing,
    backtest,
    band_of,
)
from pipeline_platform.quality.observations import observations
from pipeline_platform.quality.thresholds import Severity, Threshold
from pipeline_platform.run_context import utc_now

app = typer.Typer(help="Runbooks: try another limit before you change one.", no_args_is_help=True)


@app.callback()
def runbook() -> None:
    """Try another limit before you change one."""


@app.command("try")
def try_limit(
    threshold: Annotated[str, typer.Argument(metavar="PIPELINE.THRESHOLD")],
    value: Annotated[float, typer.Argument(help="The limit to try, in the threshold's unit.")],
    severity: Annotated[
        Severity | None, typer.Option(help="Whose limit; else that of the severest band.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="So many days back.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Replay what was observed against another limit: when would it have fired? (B-2).

    Exit code 1 if there is too little history to lean on; what there is is shown. Write a negative
    value behind `--`.
    """
    with plain_failures(), services() as opened:
        pipeline, declared = _threshold_named(threshold)
        band = band_of(declared, severity)
        since = utc_now() - timedelta(days=days)
        with opened.database.connection() as connection:
            found = observations(connection, pipeline, declared.name, since=since, limit=None)
        result = backtest(declared, band, value, found)
    if as_json:
        show_facts("", _as_json(pipeline, result, days), as_json=True)
    else:
        _show(pipeline, result, days)
    raise typer.Exit(0 if result.is_enough else FOUND_FAULTS)


def _threshold_named(text: str) -> tuple[str, Threshold]:
    name, dot, check = text.partition(".")
    if not dot:
        raise BadInputError(f"{text!r} is no threshold; write PIPELINE.THRESHOLD.")
    pipeline = pipeline_named(name)
    known = runbooks()[pipeline].thresholds
    if check not in known:
        raise NotFoundError(
            f"{pipeline} has no threshold {check!r}; choose from {', '.join(sorted(known))}."
        )
    return pipeline, known[check]


def _show(pipeline: str, result: Backtest, days: int) -> None:
    threshold = result.threshold
    rows: list[Mapping[str, object]] = [
        {
            "limit": f"{limit:g} {threshold.unit}{mark}",
            "fired": len(firings),
            "in 30 days": _per_month(firings, result),
            "hours": _hours(firings, result.last_at),
            "first (UTC)": firings[0].began_at if firings else None,
            "last (UTC)": firings[-1].began_at if firings else None,
        }
        for limit, firings, mark in (
            (result.today_limit, result.today, " (today's)"),
            (result.tried_limit, result.tried, " (tried)"),
        )
    ]
    show_rows(f"{pipeline}.{threshold.name}, {result.severity}", rows, as_json=False)
    shown = [_difference(one) for one in result.differences]
    show_rows("Each firing", shown, as_json=False, empty="neither limit was ever broken.")
    console.print(_in_words(result, days), markup=False, highlight=False, soft_wrap=True)


def _as_json(pipeline: str, result: Backtest, days: int) -> dict[str, object]:
    return {
        "pipeline": pipeline,
        "threshold": result.threshold.name,
        "unit": result.threshold.unit,
        "severity": result.severity,
        "days": days,
        "observations": result.observations,
        "measured": result.measured,
        "first_observed_at": result.first_at,
        "last_observed_at": result.last_at,
        "is_enough": result.is_enough,
        "today": _side(result.today_limit, result.today, result),
        "tried": _side(result.tried_limit, result.tried, result),
        "differences": [
            {
                "partition": one.either.partition_key,
                "today_at": one.today.began_at if one.today else None,
                "tried_at": one.tried.began_at if one.tried else None,
                "tried_is_later_by_minutes": _minutes(one.delay),
            }
            for one in result.differences
        ],
    }


def _side(limit: float, firings: Sequence[Firing], result: Backtest) -> object:
    return {
        "limit": limit,
        "fired": len(firings),
        "hours": _hours(firings, result.last_at),
        "firings": [
            {
                "began_at": one.began_at,
                "ended_at": one.ended_at,
                "partition": one.partition_key,
                "worst": one.worst,
            }
            for one in firings
        ],
    }


def _difference(one: Difference) -> Mapping[str, object]:
    delay = one.delay
    if one.tried is None:
        words = "missed by the tried limit"
    elif one.today is None:
        words = "only by the tried limit"
    elif delay:
        words = f"{abs(delay)} {'later' if delay > timedelta(0) else 'earlier'}"
    else:
        words = "the same"
    return {
        "partition": one.either.partition_key,
        "today's (UTC)": one.today.began_at if one.today else None,
        "tried (UTC)": one.tried.began_at if one.tried else None,
        "difference": words,
        "worst value": one.either.worst,
    }


def _in_words(result: Backtest, days: int) -> str:
    """Say how much history there is, and what can't be known from it."""
    if result.first_at is None or result.last_at is None:
        return f"Nothing was observed in {days} days: nobody can say how another limit would do."
    told = (
        f"{result.measured} of {result.observations} observations were measured, from "
        f"{result.first_at:%Y-%m-%d %H:%M} to {result.last_at:%Y-%m-%d %H:%M} UTC."
    )
    if result.is_enough:
        return told
    return (
        f"{told} That is too little to lean on: at least {LEAST_OBSERVATIONS} in "
        f"{LEAST_SPAN.days} days are needed."
    )


def _per_month(firings: Sequence[Firing], result: Backtest) -> str | None:
    if not result.is_enough or result.first_at is None or result.last_at is None:
        return None
    span = (result.last_at - result.first_at) / timedelta(days=30)
    return f"{len(firings) / span:.1f}"


def _hours(firings: Sequence[Firing], until: datetime | None) -> float:
    spans = [(one.ended_at or until or one.began_at) - one.began_at for one in firings]
    return round(sum(spans, timedelta()) / timedelta(hours=1), 2)


def _minutes(span: timedelta | None) -> float | None:
    return None if span is None else round(span / timedelta(minutes=1), 1)
