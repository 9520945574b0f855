"""`/admin/...`: stop and resume everything (SC-11, SC-12, SA-67)."""

from fastapi import APIRouter, Request

from pipeline_platform.api.pipelines import Switch, Switched, platform_of, switch
from pipeline_platform.api.problems import responses
from pipeline_platform.api.security import Admin
from pipeline_platform.warehouse.stops import EVERYTHING

router = APIRouter(prefix="/admin", tags=["admin"])
_ERRORS = responses(400, 401, 403, 413, 422, 429, 503)


@router.post("/stop-all", responses=_ERRORS)
def stop_all(request: Request, caller: Admin, wanted: Switch | None = None) -> Switched:
    """Stop everything: nothing starts, what runs ends between two commits, until it is resumed."""
    return switch(platform_of(request), caller, EVERYTHING, "stop", wanted)


@router.post("/resume-all", responses=_ERRORS)
def resume_all(request: Request, caller: Admin, wanted: Switch | None = None) -> Switched:
    """Let everything go on that was not stopped alone."""
    return switch(platform_of(request), caller, EVERYTHING, "resume", wanted)
