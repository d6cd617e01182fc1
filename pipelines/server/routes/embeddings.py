"""`POST /v1/embeddings`: the mean of the last hidden states over a text, picture or recording."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request

from dvse.errors import PromptTooLongError
from dvse.items import Item, Text
from pipelines.answering.prompts import pooled_row
from pipelines.server.answers.event_stream import until_hangup
from pipelines.server.caller import Caller, Client
from pipelines.server.errors import ApiError
from pipelines.server.inputs import as_items
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES
from pipelines.server.schemas.embeddings import (
    Embedding,
    EmbeddingList,
    EmbeddingRequest,
    EmbeddingUsage,
)
from pipelines.server.serving import Serving
from pipelines.server.shelf import Current, Shelf

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Ids, and where those of the input begin."""

    ids: list[int]
    first: int


@router.post("/embeddings", response_model=EmbeddingList, dependencies=[Depends(json_body)])
async def embeddings(
    body: EmbeddingRequest, request: Request, shelf: Current, client: Client
) -> Any:
    """Return a vector an input."""
    return await until_hangup(request, _embedded(body, shelf, client))


async def _embedded(body: EmbeddingRequest, shelf: Shelf, client: Caller) -> EmbeddingList:
    async with shelf.open(body.model) as opened:
        serving = opened.serving
        rows = await serving.encoder.run(lambda: _rows(body, serving))
        batcher = serving.model.batcher
        futures = [asyncio.wrap_future(batcher.pool(row.ids, row.first)) for row in rows]
        try:
            vectors = [np.asarray(await future) for future in futures]
        finally:
            for future in futures:
                future.cancel()
        _check_dimensions(body.dimensions, len(vectors[0]))
        num_tokens = sum(len(row.ids) for row in rows)
        client.record.prompt_tokens += num_tokens
        client.record.model = opened.name
        return EmbeddingList(
            data=[
                Embedding(index=index, embedding=_written(vector, body.encoding_format))
                for index, vector in enumerate(vectors)
            ],
            model=opened.name,
            usage=EmbeddingUsage(prompt_tokens=num_tokens, total_tokens=num_tokens),
        )


def _rows(body: EmbeddingRequest, serving: Serving) -> list[_Row]:
    given: Any = body.input
    entries = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    if isinstance(entries[0], list):
        return [_of_ids(ids, serving) for ids in entries]
    items: Sequence[Item] = (
        [Text(text) for text in entries] if isinstance(entries[0], str) else as_items(entries)
    )
    return [_of_item(item, number, serving) for number, item in enumerate(items)]


def _of_item(item: Item, number: int, serving: Serving) -> _Row:
    if isinstance(item, Text) and not item.text:
        raise ApiError(400, f"input {number}: expected some text", param="input")
    try:
        encoding = serving.encoder.encode(
            pooled_row(item), max_tokens=serving.model.batcher.context
        )
    except PromptTooLongError as error:
        raise ApiError(
            400, f"input {number}: {error}", code="context_length_exceeded", param="input"
        ) from None
    return _Row(ids=encoding.ids.tolist(), first=encoding.spans[-1].start)


def _of_ids(ids: list[int], serving: Serving) -> _Row:
    size, context = serving.model.tokenizer.text.size, serving.model.batcher.context
    if max(ids) >= size:
        raise ApiError(
            400,
            f"expected ids of this model's text, below {size}, received {max(ids)}; ids of another "
            "tokenizer mean nothing here, send the text (langchain: check_embedding_ctx_length="
            "False)",
            param="input",
        )
    head = serving.encoder.encode(pooled_row(Text("x"))[:-1]).ids.tolist()
    if len(head) + len(ids) > context:
        raise ApiError(
            400,
            f"expected at most {context - len(head)} ids, received {len(ids)}",
            code="context_length_exceeded",
            param="input",
        )
    return _Row(ids=head + ids, first=len(head))


def _check_dimensions(wanted: int | None, size: int) -> None:
    if wanted not in (None, size):
        raise ApiError(
            400,
            f"dimensions: this model's vectors have {size}, received {wanted}",
            param="dimensions",
        )


def _written(vector: np.ndarray, form: str | None) -> list[float] | str:
    unit = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype("<f4")
    return base64.b64encode(unit.tobytes()).decode() if form == "base64" else unit.tolist()
