"""From a trained codec to a part on disk: the tokenizer's files, its figures and where it is from.

Weights are rounded to half precision first. The figures are measured on the files as written,
through the same calls that a user makes.
"""

import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dvse.chunk import Chunk
from dvse.errors import TrainingError
from dvse.image.geometry import Geometry
from dvse.image.tokenizer import ImageTokenizer
from dvse.part import Part
from dvse.weights import round_to_half
from pipelines.image_codec import ImageCodec
from pipelines.picture_data import Pictures

_MEASURED_TOGETHER = 100
_PACKAGES = ("torch", "timm", "pillow", "numpy", "vector-quantize-pytorch", "accelerate")


def write_image_part(
    codec: ImageCodec,
    geometry: Geometry,
    folder: Path,
    *,
    validation: Pictures | None,
    provenance: Mapping[str, Any],
) -> Part:
    """Save what a codec has become in `folder`, measure it on `validation`, write `part.json`."""
    tokenizer = ImageTokenizer(
        encoder=codec.encoder,
        quantizer=codec.export_quantizer(),
        decoder=codec.decoder,
        geometry=geometry,
    )
    return write_tokenizer_part(tokenizer, folder, validation=validation, provenance=provenance)


def write_tokenizer_part(
    tokenizer: ImageTokenizer,
    folder: Path,
    *,
    validation: Pictures | None,
    provenance: Mapping[str, Any],
) -> Part:
    """Save a tokenizer in `folder`, measure it on `validation`, write `part.json`.

    Raises:
        TrainingError: the disk is full; `part.json` comes last, so no half of a part counts.
    """
    for trained in (tokenizer.encoder, tokenizer.quantizer, tokenizer.decoder):
        if trained is not None:
            round_to_half(trained)
    try:
        tokenizer.save_files(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    saved = ImageTokenizer.from_spec(tokenizer.spec(), folder)
    part = Part(
        modality="image",
        folder=folder,
        spec=saved.spec(),
        metrics={} if validation is None else measure_tokenizer(saved, validation),
        provenance={**provenance, "versions": {name: version(name) for name in _PACKAGES}},
    )
    try:
        part.save()  # last: a folder without it is no part
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return part


def _cannot_write(folder: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"{folder}: the part cannot be written; {error.strerror or error}. Free some space and run "
        "the command again with --resume: the training itself is kept"
    )


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
    share = counts[counts > 0] / counts.sum()
    return {
        "codes_used": round(float((counts > 0).mean()), 4),
        "perplexity": round(float(np.exp(-(share * np.log(share)).sum())), 1),
    }
