"""What new rows of web_events change in marts and checks: asked of dbt, and as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from pipeline_platform.orchestration.mart_previews import preview_marts
from pipeline_platform.web_events.marts import MARTS, mart_variables
from pipeline_platform.web_events.run_context import RunContext


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
