"""Image codes without training a network: k-means over the patch features of a frozen ViT.

The encoder is any ViT of timm with its published weights in a safetensors file; what is clustered
is one of its layers. There is no way back to pixels. Clustering is that of speech units
(`pipelines.codebooks.clustering`): all three modes, residual levels, features kept on disk,
`torchrun`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dvse.chunk import Chunk
from dvse.errors import ConfigError, TrainingError
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.file_hash import file_sha256
from dvse.storage.part import Part
from pipelines.codebooks.clustering import cluster, remove_progress
from pipelines.runs.processes import Processes
from pipelines.training.image.objective import load_teacher
from pipelines.training.image.part import write_tokenizer_part
from pipelines.training.image.pictures import load_rows
from pipelines.training.image.settings import FrozenImageRecipe

_TOGETHER = 64


def train_frozen_image(recipe: FrozenImageRecipe, output: Path) -> Part:
    """Cluster and write the part.

    Raises:
        ConfigError: an encoder that timm does not know, or pictures that its patches do not fill.
        TrainingError: see `pipelines.codebooks.clustering.cluster`.
    """
    threads, wanted, data = recipe.machine.threads, recipe.encoder, recipe.data
    torch.set_num_threads(threads)
    encoder = load_teacher(wanted.name, wanted.weights, layer=wanted.layer)
    # Parts are kept in half precision: what is clustered must be what will be tokenised.
    encoder = encoder.half().float()
    if data.picture_size % encoder.patch_size:
        raise ConfigError(
            f"expected a picture size that patches of {encoder.patch_size} divide, received "
            f"{data.picture_size}"
        )
    train = load_rows(data, data.rows, num_threads=threads)
    validation = None
    if data.validation_rows is not None:
        validation = load_rows(data, data.validation_rows, num_threads=threads)
    draft = _tokenizer(encoder, recipe, None)
    processes = Processes()
    mine = train.pixels[processes.rank :: processes.count]
    if not len(mine):
        raise TrainingError(
            f"expected a picture for each of {processes.count} processes, received {len(train)}"
        )
    about = {
        "encoder": file_sha256(wanted.weights),
        "layer": wanted.layer,
        "data": train.sha256,
        "picture_size": data.picture_size,
    }
    units = cluster(
        lambda: _features(draft, mine), output, recipe.clustering, dim=encoder.dim, about=about
    )
    tokenizer = _tokenizer(encoder, recipe, CodebookQuantizer(units.codebook))
    if processes.rank:
        return Part(modality="image", folder=output, spec={})
    part = write_tokenizer_part(
        tokenizer,
        output,
        validation=validation,
        provenance={
            "command": "dvse train image",
            "encoder": {"name": wanted.name, "layer": wanted.layer, "sha256": about["encoder"]},
            "clustering": {**recipe.clustering.kmeans.to_dict(), "mode": recipe.clustering.mode},
            "data": {
                "name": data.path.name,
                "licence": data.licence,
                "rows": data.rows,
                "pictures": len(train),
                "sha256": train.sha256,
            },
            **units.figures,
        },
    )
    remove_progress(output)
    return part


def _tokenizer(
    encoder: ImageEncoder, recipe: FrozenImageRecipe, quantizer: CodebookQuantizer | None
) -> ImageTokenizer:
    return ImageTokenizer(
        encoder=encoder,
        quantizer=quantizer,
        geometry=SquareGeometry(size=recipe.data.picture_size, patch_size=encoder.patch_size),
    )


def _features(draft: ImageTokenizer, pixels: np.ndarray) -> Iterator[np.ndarray]:
    side = pixels.shape[1] // draft.geometry.patch_size
    for start in range(0, len(pixels), _TOGETHER):
        block = pixels[start : start + _TOGETHER]
        yield from draft.embed(
            [Chunk(modality="image", data=picture, grid=(side, side)) for picture in block]
        )
