"""`GET /health`: the platform's judgement of what it depends on (SC-1)."""

from fastapi import APIRouter, Request, Response

from pipeline_platform.api.sharing import Shared
from pipeline_platform.operations.health import Health

SHARED_SECONDS = 1.0
router = APIRouter(tags=["health"])


@router.get(
    "/health",
    response_model=Health,
    responses={503: {"model": Health, "description": "A dependency does not work"}},
)
def health(request: Request, response: Response) -> Health:
    """Say whether every dependency works: 200, or 503 with what does not. Needs no token."""
    shared: Shared[Health] = request.app.state.health
    found = shared.get()
    response.status_code = 200 if found.status == "ok" else 503
    response.headers["Cache-Control"] = "no-store"
    return found
