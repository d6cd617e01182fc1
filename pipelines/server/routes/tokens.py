"""`POST /v1/tokenize` and `/v1/detokenize`: what the model reads, and what ids say."""

import base64
import io
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from PIL import Image as PilImage

from dvse.encoding import AudioSegment, Encoding, ImageSegment, Segment, Span, TextSegment
from dvse.tokenizer import Tokenizer
from pipelines.server.answers.event_stream import until_hangup
from pipelines.server.inputs import as_items
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES
from pipelines.server.schemas.multimodal import (
    Detokenized,
    DetokenizedItem,
    DetokenizeRequest,
    Tokenized,
    TokenizedItem,
    TokenizeRequest,
)
from pipelines.server.shelf import Current, Opened

_MOST_TOKENS = 1_000_000

router = APIRouter(prefix="/v1", tags=["tokens"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post("/tokenize", response_model=Tokenized, dependencies=[Depends(json_body)])
async def tokenize(body: TokenizeRequest, request: Request, shelf: Current) -> Any:
    """Return the ids of inputs, with modality, picture grid and units."""

    async def work() -> Tokenized:
        async with shelf.open(body.model) as opened:
            return await opened.serving.encoder.run(lambda: _tokenized(body, opened))

    return await until_hangup(request, work())


@router.post("/detokenize", response_model=Detokenized, dependencies=[Depends(json_body)])
async def detokenize(body: DetokenizeRequest, request: Request, shelf: Current) -> Any:
    """Return what ids say: text, special tokens, pictures and recordings."""

    async def work() -> Detokenized:
        async with shelf.open(body.model) as opened:
            return await opened.serving.encoder.run(lambda: _detokenized(body, opened))

    return await until_hangup(request, work())


def _tokenized(body: TokenizeRequest, opened: Opened) -> Tokenized:
    serving = opened.serving
    encoding = serving.encoder.encode(as_items(body.inputs), max_tokens=_MOST_TOKENS)
    return Tokenized(
        model=opened.name,
        ids=encoding.ids.tolist(),
        modality_ids=encoding.modality_ids.tolist(),
        items=[_item(span, encoding, serving.model.tokenizer) for span in encoding.spans],
        num_tokens=len(encoding),
    )


def _detokenized(body: DetokenizeRequest, opened: Opened) -> Detokenized:
    ids = np.asarray(body.ids, dtype=np.int64)
    segments = opened.serving.model.tokenizer.decode(ids, render=bool(body.render))
    text = "".join(s.text for s in segments if isinstance(s, TextSegment))
    return Detokenized(model=opened.name, items=[_segment(s) for s in segments], text=text)


def _item(span: Span, encoding: Encoding, tokenizer: Tokenizer) -> TokenizedItem:
    modality: Any = span.modality
    if modality not in ("image", "audio"):
        return TokenizedItem(modality=modality, start=span.start, stop=span.stop)
    inner = encoding.ids[span.start + 1 : span.stop - 1]
    if modality == "image" and tokenizer.grammar.fixed_grid is None:
        inner = inner[2:]  # its rows and columns
    vocabulary = tokenizer.vocabulary
    codes, _ = vocabulary.codes_of(modality, inner)
    return TokenizedItem(
        modality=modality,
        start=span.start,
        stop=span.stop,
        grid=span.grid,
        codes=codes.reshape(-1, vocabulary.num_levels(modality)).tolist(),
        num_codes=vocabulary.num_codes(modality),
        duration_s=span.duration_s,
        frame_rate_hz=span.frame_rate_hz,
        durations=None if span.durations is None else span.durations.tolist(),
    )


def _segment(segment: Segment) -> DetokenizedItem:
    if isinstance(segment, TextSegment):
        return DetokenizedItem(modality="text", text=segment.text)
    if isinstance(segment, ImageSegment):
        rows, columns, levels = segment.codes.shape
        return DetokenizedItem(
            modality="image",
            grid=(rows, columns),
            codes=segment.codes.reshape(-1, levels).tolist(),
            png=None if segment.pixels is None else _png(segment.pixels),
        )
    if isinstance(segment, AudioSegment):
        return DetokenizedItem(
            modality="audio", codes=segment.units.tolist(), frame_rate_hz=segment.frame_rate_hz
        )
    return DetokenizedItem(modality="special", name=segment.name)


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
