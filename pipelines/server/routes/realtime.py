"""`WS /v1/realtime/tokens`: sound in as it is spoken, ids out as soon as they are final.

The client sends `{"type": "start", "sample_rate_hz": 16000, "format": "pcm16"}` (or `f32`), then
binary messages of mono samples, little-endian, of any length, then `{"type": "end"}`. The server
answers `started`, `tokens` (ids, codes of audio, seconds heard) whenever some are final, and
`done`. Whatever is wrong is one `error` in OpenAI's shape before the socket closes.
"""

import asyncio
import json
from functools import partial
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError

from dvse.audio_id_stream import AudioIdStream
from dvse.errors import InputError
from dvse.special_tokens import BRACKETS
from dvse.tokenizer import Tokenizer
from pipelines.server.caller import record_of
from pipelines.server.errors import ApiError, as_api_error
from pipelines.server.schemas.base import RequestModel
from pipelines.server.shelf import Shelf

router = APIRouter(prefix="/v1", tags=["tokens"])

_KINDS: dict[str, np.dtype[Any]] = {"pcm16": np.dtype("<i2"), "f32": np.dtype("<f4")}
_CLOSED_FOR_POLICY = 1008
_IDLE_S = 60.0  # who is connected holds one of the places for requests


class StreamStart(RequestModel):
    """The first message."""

    type: Literal["start"]
    sample_rate_hz: int = Field(ge=1_000, le=1_000_000)
    format: Literal["pcm16", "f32"] = "pcm16"
    model: str | None = Field(default=None, max_length=256)


@router.websocket("/realtime/tokens")
async def realtime_tokens(socket: WebSocket) -> None:
    """Give the ids of a recording while it is being made."""
    await socket.accept()
    try:
        shelf: Shelf | None = socket.app.state.shelf
        if shelf is None or not shelf.loaded:
            raise ApiError(503, "the model is still loading; try again in a moment")
        start = _start(await _received(socket))
        async with shelf.open(start.model) as opened:
            record_of(socket.scope).model = opened.name
            stream = opened.serving.model.tokenizer.audio_stream(start.sample_rate_hz)
            await socket.send_json({"type": "started", "model": opened.name})
            tokenizer = opened.serving.model.tokenizer
            while isinstance(message := await _received(socket), bytes):
                ids = await opened.serving.encoder.run(
                    partial(stream.push, _samples(message, start))
                )
                if len(ids):
                    await socket.send_json(_tokens("tokens", ids, stream, tokenizer))
            if _parsed(message).get("type") != "end":
                raise InputError('expected binary samples or {"type": "end"}')
            ids = await opened.serving.encoder.run(stream.finish)
            await socket.send_json(_tokens("done", ids, stream, tokenizer))
            await socket.close()
    except WebSocketDisconnect:
        return
    except Exception as error:
        await socket.send_json({"type": "error"} | as_api_error(error).body())
        await socket.close(_CLOSED_FOR_POLICY)


async def _received(socket: WebSocket) -> bytes | str:
    try:
        async with asyncio.timeout(_IDLE_S):
            message = await socket.receive()
    except TimeoutError:
        raise ApiError(408, f"expected samples, or the end, within {_IDLE_S:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    data = message.get("bytes")
    return data if data is not None else str(message.get("text", ""))


def _start(message: bytes | str) -> StreamStart:
    try:
        return StreamStart.model_validate(_parsed(message))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ApiError(400, f"{place}: {first['msg']}", param=place or None) from None


def _parsed(message: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError('expected JSON such as {"type": "start", "sample_rate_hz": 16000}')
    return found


def _samples(message: bytes, start: StreamStart) -> np.ndarray:
    kind = _KINDS[start.format]
    if len(message) % kind.itemsize:
        raise InputError(
            f"expected whole samples of {kind.itemsize} bytes, received {len(message)} bytes"
        )
    return np.frombuffer(message, kind)


def _tokens(
    kind: str, ids: np.ndarray, stream: AudioIdStream, tokenizer: Tokenizer
) -> dict[str, Any]:
    vocabulary = tokenizer.vocabulary
    levels = vocabulary.num_levels("audio")
    brackets = [vocabulary.special_id(name) for name in BRACKETS["audio"]]
    codes, _ = vocabulary.codes_of("audio", ids[~np.isin(ids, brackets)])
    return {
        "type": kind,
        "ids": ids.tolist(),
        "codes": codes.reshape(-1, levels).tolist(),
        "duration_s": round(stream.duration_s, 6),
    }
