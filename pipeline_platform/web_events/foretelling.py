"""What new rows change in events, marts and checks: asked of dbt, and as tables (B-9, B-10)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from pipeline_platform.ingestion.replay import FilePreview, Foretold
from pipeline_platform.orchestration.mart_previews import preview_marts
from pipeline_platform.services import Services
from pipeline_platform.web_events.ingestion import EventFiles
from pipeline_platform.web_events.marts import MARTS, mart_variables
from pipeline_platform.web_events.replay_moves import DayMove, day_moves
from pipeline_platform.web_events.run_context import RunContext
from pipeline_platform.web_events.sources import load_mappings


def files_through(services: Services, run_id: str, sources: Path) -> EventFiles:
    """Return how files are read through the source mappings of another folder, to try them."""
    return EventFiles(RunContext(services, run_id, sources=load_mappings(sources)))


def foretell(intake: EventFiles, preview: FilePreview, folder: Path) -> Foretold:
    """Say what a replay would move: events and score of days, marts, checks."""
    moves = day_moves(intake.run, preview.again, folder, mart_effects)
    found = moves.as_plain()
    return Foretold(
        moves.processed_days,
        moves.objections,
        (("What moves", [_row(one) for one in moves.days]), *effect_tables(found["effects"] or {})),
        found,
    )


def _row(move: DayMove) -> dict[str, object]:
    return {
        "day": move.day,
        "events": f"{move.events_before} -> {move.events_after}",
        "score": f"{_shown(move.score_before)} -> {_shown(move.score_after)}",
    }


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def mart_effects(run: RunContext, proposed: RunContext, days: Sequence[date]) -> dict[str, Any]:
    """Return how marts would differ, and which of their tests would fail."""
    preview = preview_marts(
        run.services,
        proposed.services,
        MARTS,
        days,
        mart_variables(run.runbook.rulings),
        run.run_id,
    )
    return {
        "marts": [asdict(change) for change in preview.changes],
        "failed_tests": list(preview.failed_tests),
    }


def effect_tables(report: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the effects that a report has, as tables with their titles."""
    marts = report.get("marts", [])
    return [
        (
            "Marts: figures",
            [
                {
                    "mart": one["mart"],
                    "of": one["partition"],
                    "figure": name,
                    "before": before,
                    "after": after,
                }
                for one in marts
                for name, (before, after) in one["columns"].items()
            ],
        ),
        (
            "Marts: rows",
            [
                {
                    "mart": one["mart"],
                    "of": one["partition"],
                    "rows": one["rows_after"],
                    "that go": one["rows_that_go"],
                    "that come": one["rows_that_come"],
                }
                for one in marts
                if not one["columns"]
            ],
        ),
        (
            "Checks",
            [
                one
                for one in report.get("checks", [])
                if one["outcome_before"] != one["outcome_after"]
            ],
        ),
        ("Tests that would fail", [{"test": one} for one in report.get("failed_tests", [])]),
    ]
