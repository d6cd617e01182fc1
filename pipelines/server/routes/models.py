"""`GET /v1/models`, `/v1/models/{id}` and `/v1/introductions/{id}`."""

import base64
import mimetypes

from fastapi import APIRouter

from pipelines.answering.introduction import Sample
from pipelines.server.schemas.base import ERROR_RESPONSES
from pipelines.server.schemas.multimodal import (
    ModelEntry,
    ModelIntroduction,
    ModelList,
    ModelSample,
)
from pipelines.server.shelf import Current

router = APIRouter(prefix="/v1", tags=["models"], responses=ERROR_RESPONSES)


@router.get("/models", response_model=ModelList)
async def list_models(shelf: Current) -> ModelList:
    """List the names under which models are served."""
    return ModelList(data=[ModelEntry(id=name, created=shelf.created) for name in shelf.names])


@router.get("/introductions/{name:path}", response_model=ModelIntroduction)
async def introduction(name: str, shelf: Current) -> ModelIntroduction:
    """Return what a model knows, samples to try it on, and the words with which it refuses."""
    async with shelf.open(name) as opened:
        found = opened.serving.model.introduction
        samples = await opened.serving.encoder.run(lambda: [_sample(s) for s in found.samples])
        return ModelIntroduction(
            id=opened.name, knows=found.knows, samples=samples, refusals=list(found.refusals)
        )


@router.get("/models/{name:path}", response_model=ModelEntry)
async def model_entry(name: str, shelf: Current) -> ModelEntry:
    """Return one of them."""
    return ModelEntry(id=shelf.check_name(name), created=shelf.created)


def _sample(sample: Sample) -> ModelSample:
    media_type = mimetypes.guess_type(sample.file.name)[0] or "application/octet-stream"
    return ModelSample(
        title=sample.title,
        question=sample.question,
        name=sample.file.name,
        media_type=media_type.replace("audio/x-flac", "audio/flac"),
        data=base64.b64encode(sample.file.read_bytes()).decode(),
    )
