"""Codes and features of a split, computed once and shared by all measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dvse.chunk import Chunk
from dvse.errors import InputError, TrainingError
from dvse.tokenizer import Tokenizer
from pipelines.evaluation.inputs import Input

_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class EncodedInput:
    """An input with what the bundle makes of it.

    Attributes:
        source: the input.
        data: what the encoder saw, `uint8 [H, W, 3]` or `float32 [samples]`.
        codes: `int32 [n, num_levels]`.
        features: `float32 [n, dim]`, before they are quantized.
        grid: rows and columns of a picture's codes.
        duration_s: of a recording.
    """

    source: Input
    data: np.ndarray
    codes: np.ndarray
    features: np.ndarray
    grid: tuple[int, int] | None
    duration_s: float


def encode_inputs(
    tokenizer: Tokenizer, modality: str, inputs: Sequence[Input]
) -> list[EncodedInput]:
    """Return the codes and features of inputs; those that cannot be read are left out.

    Raises:
        TrainingError: none can be read.
    """
    media = tokenizer.image if modality == "image" else tokenizer.audio
    assert media is not None
    found: list[EncodedInput] = []
    failures: list[InputError] = []
    for start in range(0, len(inputs), _AT_ONCE):
        batch: list[tuple[Input, list[Chunk]]] = []
        for entry in inputs[start : start + _AT_ONCE]:
            try:
                batch.append((entry, list(tokenizer.preparer.chunks([entry.item]))))
            except InputError as error:
                failures.append(error)
        if not batch:
            continue
        with tokenizer.profile.pinned():
            try:
                found += _encoded(media, batch)
            except InputError:  # one of them is to blame: the others count
                for one in batch:
                    try:
                        found += _encoded(media, [one])
                    except InputError as error:
                        failures.append(error)
    if not found:
        raise TrainingError(f"none of {len(inputs)} inputs could be read; {failures[0]}")
    return found


def encode_data(
    tokenizer: Tokenizer, modality: str, arrays: Sequence[np.ndarray], like: Sequence[EncodedInput]
) -> list[np.ndarray]:
    """Return the codes of changed samples or pixels, each in place of an encoded input."""
    media: Any = tokenizer.image if modality == "image" else tokenizer.audio
    results: list[np.ndarray] = []
    if modality == "audio":
        from dvse.items import Audio

        rate = media.sample_rate_hz
        for array in arrays:
            chunks = list(media.preparer.prepare(Audio(array, sample_rate_hz=rate)))
            with tokenizer.profile.pinned():
                results.append(np.concatenate(media.encode(chunks)))
        return results
    chunks = [
        Chunk(modality="image", data=array, grid=entry.grid)
        for array, entry in zip(arrays, like, strict=True)
    ]
    with tokenizer.profile.pinned():
        return media.encode(chunks)


def _encoded(media: Any, batch: Sequence[tuple[Input, list[Chunk]]]) -> list[EncodedInput]:
    embedded = media.embed([chunk for _, mine in batch for chunk in mine])
    codes, features = iter(media.quantize(embedded)), iter(embedded)
    return [
        _joined(entry, mine, [next(codes) for _ in mine], [next(features) for _ in mine])
        for entry, mine in batch
    ]


def _joined(
    entry: Input, chunks: Sequence[Chunk], codes: list[np.ndarray], features: list[np.ndarray]
) -> EncodedInput:
    # Windows of a long recording overlap; the picture and the sound shown are the first one's.
    return EncodedInput(
        source=entry,
        data=np.asarray(chunks[0].data),
        codes=np.concatenate(codes),
        features=np.concatenate(features),
        grid=chunks[0].grid,
        duration_s=sum(chunk.duration_s or 0.0 for chunk in chunks),
    )
