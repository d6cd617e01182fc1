"""`/health` (alive), `/ready` (the model answers), `/metrics` (for Prometheus)."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from pipelines.server.errors import unavailable
from pipelines.server.schemas.base import ErrorResponse
from pipelines.server.serving import Current

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """Alive."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Able to answer."""

    status: Literal["ready"] = "ready"
    model: str


@router.get("/health")
async def health() -> Health:
    """Answer as long as the process lives."""
    return Health()


@router.get("/ready", responses={503: {"model": ErrorResponse, "description": "Not ready"}})
async def ready(serving: Current) -> Ready:
    """Answer as soon as the model is loaded, until the server stops."""
    if not serving.model.batcher.is_well:
        raise unavailable("the batcher does not run; the server's log says why")
    return Ready(model=serving.settings.name)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return counters in Prometheus's format."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)
