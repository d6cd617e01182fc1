"""Figures of image codes, and the pictures and patches to look at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from dvse.tokenizer import Tokenizer
from pipelines.codebooks.usage import CodebookUsage, count_codes
from pipelines.evaluation.encoded import EncodedInput
from pipelines.evaluation.probes import probe_figures
from pipelines.evaluation.reconstruction import PictureJudge
from pipelines.evaluation.robustness import share_changed

_CHANGED_PICTURES = 1000


def image_figures(
    tokenizer: Tokenizer,
    train: Sequence[EncodedInput],
    splits: Mapping[str, Sequence[EncodedInput]],
    *,
    probe: bool = True,
    judge: PictureJudge | None = None,
) -> dict[str, Any]:
    """Return the figures of the codes over all splits, agreement and probes for each.

    Of pictures that the codes give back, `judge` says how near they come.
    """
    image: Any = tokenizer.image
    inputs = [entry for part in splits.values() for entry in part]
    figures: dict[str, Any] = {
        "pictures": len(inputs),
        "codes_per_picture": round(float(np.mean([len(e.codes) for e in inputs])), 1),
        "usage": [usage.figures() for usage in image_usage(tokenizer, inputs)],
    }
    if image.decoder is not None:
        figures |= (judge or PictureJudge()).figures(
            (e.data, rebuild(tokenizer, e)) for e in inputs
        )
    changed = share_changed(tokenizer, "image", inputs[:_CHANGED_PICTURES])
    figures["agreement"] = {name: round(1 - share, 4) for name, share in changed.items()}
    if probe and len({e.source.label for e in train}) > 1:
        figures["probes"] = probe_figures(
            train, splits, num_codes=image.num_codes, centroids=_centroids(image)
        )
    return figures


def image_usage(tokenizer: Tokenizer, inputs: Sequence[EncodedInput]) -> list[CodebookUsage]:
    """Return the use of each level over inputs."""
    image: Any = tokenizer.image
    codes = np.concatenate([entry.codes for entry in inputs])
    centroids = _centroids(image)
    return [
        count_codes(
            codes[:, level],
            image.num_codes,
            centroids=None if centroids is None else centroids[level],
        )
        for level in range(image.num_levels)
    ]


def rebuild(tokenizer: Tokenizer, entry: EncodedInput) -> np.ndarray:
    """Return the pixels that the decoder makes of an input's codes."""
    image: Any = tokenizer.image
    with tokenizer.profile.pinned():
        return image.decode(entry.codes, entry.grid)


def typical_patches(
    tokenizer: Tokenizer, inputs: Sequence[EncodedInput], *, num_codes: int = 64, each: int = 8
) -> dict[int, list[np.ndarray]]:
    """Return for the most used codes the patches `uint8 [p, p, 3]` nearest to the centroid."""
    image: Any = tokenizer.image
    codes = np.concatenate([entry.codes[:, 0] for entry in inputs])
    owner = np.repeat(np.arange(len(inputs)), [len(entry.codes) for entry in inputs])
    place = np.concatenate([np.arange(len(entry.codes)) for entry in inputs])
    distances = _distances(image, inputs, codes)
    patch = image.geometry.patch_size
    most_used = np.argsort(-np.bincount(codes, minlength=image.num_codes), kind="stable")
    shown = {}
    for code in most_used[:num_codes]:
        mine = np.flatnonzero(codes == code)
        if not len(mine):
            continue
        nearest = mine[np.argsort(distances[mine], kind="stable")[:each]]
        shown[int(code)] = [_cut(inputs[owner[i]], int(place[i]), patch) for i in nearest]
    return shown


def _cut(entry: EncodedInput, place: int, patch: int) -> np.ndarray:
    assert entry.grid is not None
    row, column = divmod(place, entry.grid[1])
    return entry.data[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]


def _distances(image: Any, inputs: Sequence[EncodedInput], codes: np.ndarray) -> np.ndarray:
    centroids = _centroids(image)
    if centroids is None:  # a lattice: every place in its cell is as typical as the next
        return np.zeros(len(codes))
    with torch.inference_mode():
        features = torch.from_numpy(np.concatenate([entry.features for entry in inputs]))
        if image.quantizer.project_in is not None:
            device = next(image.quantizer.parameters()).device
            features = image.quantizer.project_in(features.to(device)).cpu()
        if image.codebook.metric == "cosine":
            features = F.normalize(features, dim=-1)
        return (features - centroids[0][torch.from_numpy(codes).long()]).norm(dim=1).numpy()


def _centroids(image: Any) -> torch.Tensor | None:
    return None if image.codebook is None else image.codebook.centroids.cpu()
