"""Figures of a finished image tokenizer on held-out pictures."""

import math
from typing import Any

import numpy as np
from tqdm import tqdm

from dvse.chunk import Chunk
from dvse.image.tokenizer import ImageTokenizer
from pipelines.codebooks.usage import CodebookUsage
from pipelines.training.image.pictures import Pictures

_MEASURED_TOGETHER = 100


def measure_tokenizer(tokenizer: ImageTokenizer, pictures: Pictures) -> dict[str, Any]:
    """Return use of the codebook and PSNR over `pictures`, with how they were measured.

    PSNR is 10 log10(255² / MSE): `psnr_db` with the error over all pixels of all pictures,
    `psnr_mean_db` the mean of the pictures' own.
    """
    patch = tokenizer.geometry.patch_size
    height, width = pictures.pixels.shape[1:3]
    grid = (height // patch, width // patch)
    counts = np.zeros((tokenizer.num_levels, tokenizer.num_codes), np.int64)
    errors = []
    chunks = [Chunk(modality="image", data=pixels, grid=grid) for pixels in pictures.pixels]
    for start in tqdm(range(0, len(chunks), _MEASURED_TOGETHER), desc="measure", unit="batch"):
        batch = chunks[start : start + _MEASURED_TOGETHER]
        for chunk, codes in zip(batch, tokenizer.encode(batch), strict=True):
            for level, of_level in enumerate(counts):
                of_level += np.bincount(codes[:, level], minlength=len(of_level))
            if tokenizer.decoder is not None:
                pixels = np.asarray(chunk.data, np.float64)
                difference = tokenizer.decode(codes, grid) - pixels
                errors.append(np.square(difference / 255).mean())
    metrics: dict[str, Any] = {
        "pictures": len(pictures),
        "picture_size": [height, width],
        **_usage(counts[0]),
        "how": "validation pictures, each tokenised (and decoded) from the saved files",
    }
    if len(counts) > 1:
        metrics["levels"] = [_usage(of_level) for of_level in counts]
    if errors:
        floored = np.maximum(errors, 1e-12)
        metrics["psnr_db"] = round(-10 * math.log10(floored.mean()), 2)
        metrics["psnr_mean_db"] = round(float((-10 * np.log10(floored)).mean()), 2)
    return metrics


def _usage(counts: np.ndarray) -> dict[str, float]:
    usage = CodebookUsage(counts=counts)
    return {"codes_used": round(usage.share_used, 4), "perplexity": round(usage.perplexity, 1)}
