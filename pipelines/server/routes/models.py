"""`GET /v1/models` and `/v1/models/{id}`."""

from fastapi import APIRouter

from pipelines.server.schemas.base import ERROR_RESPONSES
from pipelines.server.schemas.multimodal import ModelEntry, ModelList
from pipelines.server.shelf import Current

router = APIRouter(prefix="/v1", tags=["models"], responses=ERROR_RESPONSES)


@router.get("/models", response_model=ModelList)
async def list_models(shelf: Current) -> ModelList:
    """List the names under which models are served."""
    return ModelList(data=[ModelEntry(id=name, created=shelf.created) for name in shelf.names])


@router.get("/models/{name:path}", response_model=ModelEntry)
async def model_entry(name: str, shelf: Current) -> ModelEntry:
    """Return one of them."""
    return ModelEntry(id=shelf.check_name(name), created=shelf.created)
