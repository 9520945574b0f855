"""How a replay and its preview are printed."""

from dataclasses import asdict
from decimal import Decimal

from pipeline_platform.advisory_performance.replay import Preview, Replayed
from pipeline_platform.advisory_performance.replay_moves import MonthMove
from pipeline_platform.commands.job_runs import WorkflowEnd, show_end
from pipeline_platform.commands.landing import show_outcomes
from pipeline_platform.commands.output import console
from pipeline_platform.commands.printing import show_facts, show_rows

NOT_FORETOLD = (
    "Not foretold: timeliness (the score keeps today's), restatements and the marts built by dbt."
)


def figures(preview: Preview) -> dict[str, object]:
    """Return the figures of a preview by the names that people read."""
    return {
        "held records": preview.held_rows,
        "records that pass now": preview.passing_rows,
        "records that still fail": {one.rule: one.count for one in preview.failing_rows},
        "held files": preview.held_files,
        "files that can be read now": preview.passing_files,
        "records in them": preview.file_records,
        "of these reach silver": preview.passing_file_records,
        "files that still fail": {one.file_name: one.rule for one in preview.failing_files},
        "other records that pass with them": preview.also_passing,
        "published records that would fail": {one.rule: one.count for one in preview.newly_failing},
        "files read again": [name for _, name in preview.files],
        "months requested": list(preview.months),
        "account-days of gold in them": preview.account_days,
        "months computed anew": list(preview.processed_months),
        "account-days of gold in these": preview.processed_account_days,
        "validity before, %": preview.validity_before,
        "validity after, %": preview.validity_after,
        "forbids publication": list(preview.objections),
    }


def show_preview(preview: Preview) -> None:
    """Print a preview: the figures, then what fails and why."""
    facts = figures(preview)
    facts["months computed anew"] = len(preview.processed_months)
    facts["files that still fail"] = len(preview.failing_files)
    facts["records that still fail"] = preview.held_rows - preview.passing_rows
    facts["published records that would fail"] = sum(one.count for one in preview.newly_failing)
    show_facts("Replay", facts, as_json=False)
    failing = [
        {"rule": one.rule, "records": str(one.count), "for example": "\n".join(one.examples)}
        for one in preview.failing_rows
    ]
    failing += [
        {"rule": one.rule or "", "records": "the file", "for example": one.reason or ""}
        for one in preview.failing_files
    ]
    failing += [
        {
            "rule": one.rule,
            "records": f"{one.count} published",
            "for example": "\n".join(one.examples),
        }
        for one in preview.newly_failing
    ]
    if failing:
        show_rows("What fails", failing, as_json=False)
    if preview.moves is not None:
        rows = [_move_row(one) for one in preview.moves]
        show_rows("What moves", rows, as_json=False, empty="score and gold would not move.")
        console.print(NOT_FORETOLD, highlight=False)


def _move_row(move: MonthMove) -> dict[str, object]:
    before, after = move.before, move.after
    returns = [
        f"{one.account_id} {one.basis} {_percent(one.before)} -> {_percent(one.after)}"
        for one in move.returns
    ]
    return {
        "month": move.month[:7],
        "score": f"{_shown(before.score)} -> {_shown(after.score)}",
        "account-days": f"{before.account_days} -> {after.account_days}",
        "reconciled, %": f"{_shown(before.pass_rate)} -> {_shown(after.pass_rate)}",
        "accounts with another return": move.changed_accounts,
        "return of the month, %, for example": "\n".join(returns),
    }


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: Decimal | None) -> str:
    return "-" if value is None else f"{100 * value:.4f}"


def _move_document(move: MonthMove) -> dict[str, object]:
    document = asdict(move)
    document["returns"] = [
        {**one, "before": _number(one["before"]), "after": _number(one["after"])}
        for one in document["returns"]
    ]
    return document


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def show_replayed(done: Replayed, ended: WorkflowEnd | None) -> None:
    """Print what was read again, and how the processing ended or who will do it."""
    if done.outcomes:
        show_outcomes("Files read again", done.outcomes, as_json=False)
    if ended is not None:
        show_end(ended, as_json=False)
        return
    console.print(
        f"Requested: {', '.join(done.months)}. Dagster's sensor processes them, or "
        "`pipeline-platform partitions process` does it now.",
        highlight=False,
        soft_wrap=True,
    )


def as_document(
    preview: Preview, done: Replayed | None, ended: WorkflowEnd | None
) -> dict[str, object]:
    """Return one JSON object: the preview, and what was done if anything was."""
    document = figures(preview)
    document["what still fails"] = [
        {"rule": one.rule, "records": one.count, "examples": list(one.examples)}
        for one in preview.failing_rows
    ]
    if preview.moves is not None:
        document["what moves"] = [_move_document(one) for one in preview.moves]
        document["not foretold"] = NOT_FORETOLD
    if done is not None:
        document["replayed"] = [
            {"file": one.name, "outcome": one.status, "rows": one.published_rows}
            for one in done.outcomes
        ]
    if ended is not None:
        document["run"] = ended.run_id
        document["did not pass"] = list(ended.not_passed)
    return document
