"""`/health` (alive), `/ready` (the model answers), `/metrics` (for Prometheus)."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from pipelines.server.errors import unavailable
from pipelines.server.schemas.base import ErrorResponse
from pipelines.server.shelf import Current

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
async def ready(shelf: Current) -> Ready:
    """Answer as soon as the first model is loaded, until the server stops."""
    if not all(serving.model.batcher.is_well for serving in shelf.loaded):
        raise unavailable("a model does not run; the server's log says why")
    return Ready(model=shelf.first)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return counters in Prometheus's format."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)
