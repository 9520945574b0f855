"""`/reports/...`: the pages of every pipeline as they were made, for a browser or a script (XC-13).

A browser gets HTML; `?format=` chooses Markdown or JSON. A page needs nothing from elsewhere and
runs no script, and its headers say so.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel

from pipeline_platform.api.pipelines import NAME, Name, platform_of
from pipeline_platform.api.problems import responses
from pipeline_platform.api.security import BrowserReader
from pipeline_platform.failures import NotFoundError
from pipeline_platform.operations.reports.pages import Page, html, markdown
from pipeline_platform.runbook import ReportName
from pipeline_platform.warehouse.report_pages import kept_page, kept_pages

router = APIRouter(prefix="/reports", tags=["reports"])
_ERRORS = responses(401, 403, 404, 422, 429, 503)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
_SHAPES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The page",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "text/markdown": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


class KeptPage(BaseModel):
    """A page that can be opened: whose, which, and what it says in one line."""

    pipeline: str
    report: str
    report_date: date
    made_at: datetime
    is_fine: bool
    verdict: str


@router.get("", responses=_ERRORS)
def list_pages(
    request: Request,
    _: BrowserReader,
    pipeline: Annotated[str | None, Query(pattern=NAME, description="Only of this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[KeptPage]:
    """List the pages that are kept, the newest first."""
    platform = platform_of(request)
    if pipeline is not None:
        platform.require_pipeline(pipeline)
    with platform.services.database.connection() as connection:
        return [KeptPage(**row) for row in kept_pages(connection, pipeline, limit)]


@router.get("/{pipeline}/{report}/{day}", response_class=Response, responses={**_ERRORS, **_SHAPES})
def page(
    request: Request,
    pipeline: Name,
    report: ReportName,
    day: Annotated[date | Literal["latest"], Path(description="YYYY-MM-DD (UTC), or latest.")],
    _: BrowserReader,
    shape: Annotated[Literal["html", "markdown", "json"], Query(alias="format")] = "html",
) -> Response:
    """Return one page: that of a day, or the latest."""
    platform = platform_of(request)
    platform.require_pipeline(pipeline)
    wanted = day if isinstance(day, date) else None
    with platform.services.database.connection() as connection:
        told = kept_page(connection, pipeline, report, wanted)
    if told is None:
        raise NotFoundError(
            f"No {report} of {pipeline} is kept for {day}; its job {pipeline}_{report} makes one."
        )
    if shape == "json":
        return JSONResponse(dict(told), headers=_HEADERS)
    found = Page.from_json(told)
    if shape == "markdown":
        return Response(markdown(found), media_type="text/markdown", headers=_HEADERS)
    return HTMLResponse(html(found), headers=_HEADERS)
