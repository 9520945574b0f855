"""`GET /quality/reports/...`: what a run found out about the data (SC-3, SC-4, SC-19)."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel

from pipeline_platform.api.metrics import SCORE_CHECK, score_scale
from pipeline_platform.api.pipelines import NAME, RUN_ID, platform_of
from pipeline_platform.api.platform import Platform
from pipeline_platform.api.problems import responses
from pipeline_platform.api.security import Reader
from pipeline_platform.failures import NotFoundError
from pipeline_platform.quality.thresholds import Severity
from pipeline_platform.warehouse.quality_reports import (
    issues_of_run,
    latest_reported_run,
    observations_of_run,
)

router = APIRouter(prefix="/quality/reports", tags=["quality"])


class Dimension(BaseModel):
    """The contract's rules of one dimension: `score` is the share of those judged that passed."""

    score: float | None
    passed: int
    failed: int
    not_measurable: int


class Issue(BaseModel):
    """One thing that is wrong."""

    severity: Severity
    issue_type: str
    rule: str | None
    table_name: str | None
    partition_key: str | None
    expected_value: str | None
    actual_value: str | None
    file_name: str | None
    line_number: int | None
    description: str | None
    created_at: datetime
    resolved_at: datetime | None


class Check(BaseModel):
    """One threshold of the runbook as the run observed it."""

    check_name: str
    asset_key: str | None
    partition_key: str | None
    outcome: str
    severity: str | None
    value: float | None
    limit_value: float | None
    reason: str | None


class Report(BaseModel):
    """One run's quality: `overall_score` is of 0 to 100, or null where the run measured none."""

    run_id: str
    pipeline: str
    observed_at: datetime
    overall_score: float | None
    dimensions: dict[str, Dimension]
    checks: list[Check]
    issues: list[Issue]


@router.get("/latest", responses=responses(401, 403, 404, 422, 429, 503))
def latest_report(
    request: Request,
    _: Reader,
    pipeline: Annotated[str | None, Query(pattern=NAME, description="Only of this one.")] = None,
) -> Report:
    """Return the newest report, of any pipeline or of one."""
    platform = platform_of(request)
    if pipeline is not None:
        platform.require_pipeline(pipeline)
    with platform.services.database.connection() as connection:
        run_id = latest_reported_run(connection, pipeline)
    if run_id is None:
        raise NotFoundError("No run has observed anything of quality yet.")
    return _report(platform, run_id)


@router.get("/{run_id}", responses=responses(401, 403, 404, 422, 429, 503))
def report(request: Request, run_id: Annotated[str, Path(pattern=RUN_ID)], _: Reader) -> Report:
    """Return the report of one run."""
    return _report(platform_of(request), run_id)


def _report(platform: Platform, run_id: str) -> Report:
    with platform.services.database.connection() as connection:
        checks = observations_of_run(connection, run_id)
        issues = issues_of_run(connection, run_id)
    if not checks and not issues:
        raise NotFoundError(f"The run {run_id} has observed nothing of quality.")
    found = [*checks, *issues]
    pipeline = str(found[0]["pipeline"])
    return Report(
        run_id=run_id,
        pipeline=pipeline,
        observed_at=max(row.get("observed_at") or row["created_at"] for row in found),
        overall_score=_overall(checks, score_scale(platform, pipeline)),
        dimensions=_dimensions(platform, run_id),
        checks=[Check(**{name: row[name] for name in Check.model_fields}) for row in checks],
        issues=[Issue(**{name: row[name] for name in Issue.model_fields}) for row in issues],
    )


def _overall(checks: list[dict[str, Any]], scale: float) -> float | None:
    """Return the worst score that the run measured: it judges each partition on its own."""
    scores = [row["value"] for row in checks if row["check_name"] == SCORE_CHECK]
    measured = [value * scale for value in scores if value is not None]
    return min(measured) if measured else None


def _dimensions(platform: Platform, run_id: str) -> dict[str, Dimension]:
    found: dict[str, dict[str, int]] = {}
    for dimension, outcome in platform.history.contract_outcomes(run_id):
        counts = found.setdefault(dimension, {"pass": 0, "fail": 0, "not measurable": 0})
        counts[outcome] += 1
    return {
        name: Dimension(
            score=round(100 * counts["pass"] / judged, 2) if judged else None,
            passed=counts["pass"],
            failed=counts["fail"],
            not_measurable=counts["not measurable"],
        )
        for name, counts in sorted(found.items())
        for judged in (counts["pass"] + counts["fail"],)
    }
