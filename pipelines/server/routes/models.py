"""`GET /v1/models` and `/v1/models/{id}`."""

from fastapi import APIRouter

from pipelines.server.schemas.base import ERROR_RESPONSES
from pipelines.server.schemas.multimodal import ModelEntry, ModelList
from pipelines.server.serving import Current

router = APIRouter(prefix="/v1", tags=["models"], responses=ERROR_RESPONSES)


@router.get("/models", response_model=ModelList)
async def list_models(serving: Current) -> ModelList:
    """List the names under which the model is served."""
    names = serving.settings.served_names
    return ModelList(data=[ModelEntry(id=n, created=serving.model.created) for n in names])


@router.get("/models/{name:path}", response_model=ModelEntry)
async def model_entry(name: str, serving: Current) -> ModelEntry:
    """Return one of them."""
    return ModelEntry(id=serving.check_model(name), created=serving.model.created)
