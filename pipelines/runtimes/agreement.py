"""How far a graph in ONNX Runtime is from the module it was traced from, at other shapes.

A trace may freeze a size and look right at the sample's. So nothing is written that was not run
with other numbers of rows, of new tokens and of tokens before, other pictures and recordings.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvse.onnx_graph import OnnxGraph
from model.graph.onnx_decoder import OnnxDecoder, OnnxDecoderConfig

_PROMPTS = ((1, 1), (1, 23), (3, 7))  # rows and tokens, none of them the sample's
_STEPS = 3
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class DecoderAgreement:
    """What a decoder's graph says beside the decoder.

    Attributes:
        logit_error: largest difference of a logit over the largest logit.
        num_tokens: likeliest next tokens that were compared.
        num_same: that were the same.
    """

    logit_error: float
    num_tokens: int
    num_same: int


def decoder_agreement(step: Any, path: Path) -> DecoderAgreement:
    """Compare prompts and a few tokens after each.

    Args:
        step: the `DecoderStep` that was traced.
        path: its graph.
    """
    import torch

    decoder = OnnxDecoder(OnnxGraph(path), OnnxDecoderConfig.of(step.config))
    draws = np.random.default_rng(_SEED)
    error, num_tokens, num_same, largest = 0.0, 0, 0, 1e-9
    for rows, length in _PROMPTS:
        ids = draws.integers(0, step.config.vocab_size, (rows, length))
        mask = np.ones((rows, length), np.int64)
        mask[0, : length // 3] = 0
        cache = decoder.empty_cache(rows)
        for _ in range(_STEPS):
            positions = (mask.cumsum(1) - 1).clip(0)[:, -ids.shape[1] :]
            given = [torch.from_numpy(a) for a in (ids, mask, positions)]
            with torch.no_grad():
                wanted = step(*given, [torch.from_numpy(a) for a in cache])[0][:, -1].numpy()
            found, cache = decoder.step(ids, mask, positions, cache)
            error = max(error, float(abs(found - wanted).max()))
            largest = max(largest, float(abs(wanted).max()))
            num_tokens += rows
            num_same += int((found.argmax(-1) == wanted.argmax(-1)).sum())
            ids = wanted.argmax(-1)[:, None]
            mask = np.concatenate([mask, np.ones((rows, 1), np.int64)], axis=1)
    return DecoderAgreement(logit_error=error / largest, num_tokens=num_tokens, num_same=num_same)


def codes_agreement(module: Any, path: Path, inputs: list[np.ndarray]) -> float:
    """Return the share of codes that are the same, over arrays of several shapes."""
    import torch

    graph = OnnxGraph(path)
    num_codes = num_same = 0
    for batch in inputs:
        with torch.no_grad():
            wanted = module(torch.from_numpy(batch)).numpy()
        found = graph.run(None, {module.input_names[0]: batch})[0]
        num_codes += wanted.size
        num_same += int((found == wanted).sum()) if found.shape == wanted.shape else 0
    return num_same / num_codes


def pictures(geometry: Any) -> list[np.ndarray]:
    """Return noise in the sizes that pictures are brought to."""
    draws = np.random.default_rng(_SEED)
    places = [geometry.place(*size) for size in ((32, 32), (500, 375), (90, 28))]
    sizes = dict.fromkeys((rows, columns) for rows, columns in (place.grid for place in places))
    side = geometry.patch_size
    shapes = [(3, rows * side, columns * side, 3) for rows, columns in sizes]
    return [draws.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def recordings(preparer: Any) -> list[np.ndarray]:
    """Return noise with a slope, of a full window and of three frames."""
    draws = np.random.default_rng(_SEED)
    grid = preparer.grid
    found = []
    for rows, length in ((3, preparer.windowing.full_samples(grid)), (1, grid.num_samples(3))):
        noise = draws.normal(0, 0.1, (rows, length)).cumsum(axis=1) * 0.05
        found.append(np.clip(noise + draws.normal(0, 0.05, noise.shape), -1, 1).astype(np.float32))
    return found
