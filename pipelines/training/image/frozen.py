"""Image codes without training a network: k-means over the patch features of a frozen ViT.

The encoder is any ViT of timm with its published weights in a safetensors file; what is clustered
is one of its layers. There is no way back to pixels. Clustering is that of speech units
(`pipelines.codebooks.clustering`): all three modes, residual levels, features kept on disk,
`torchrun`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.errors import ConfigError, TrainingError
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.file_hash import file_sha256
from dvse.storage.part import Part
from pipelines.codebooks.clustering import Clustering, cluster, remove_progress
from pipelines.runs.processes import Processes
from pipelines.training.image.objective import load_teacher
from pipelines.training.image.part import write_tokenizer_part
from pipelines.training.image.pictures import Pictures, load_pictures, parse_rows

_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class FrozenImageRecipe:
    """Settings.

    Attributes:
        data, rows, validation_rows, image_column: see `pipelines.training.image.pictures`.
        encoder, weights, layer: a timm ViT, its safetensors file, the block that is clustered.
        picture_size: side in pixels that pictures are brought to, before and after training.
        clustering: codes, levels, mode.
    """

    data: Path
    rows: str = ":"
    validation_rows: str | None = None
    image_column: str = "image"
    data_licence: str = ""
    encoder: str
    weights: Path
    layer: int = -1
    picture_size: int = 224
    clustering: Clustering
    threads: int = 2


def train_frozen_image(recipe: FrozenImageRecipe, output: Path) -> Part:
    """Cluster and write the part.

    Raises:
        ConfigError: an encoder that timm does not know, or pictures that its patches do not fill.
        TrainingError: see `pipelines.codebooks.clustering.cluster`.
    """
    torch.set_num_threads(recipe.threads)
    encoder = load_teacher(recipe.encoder, recipe.weights, layer=recipe.layer)
    # Parts are kept in half precision: what is clustered must be what will be tokenised.
    encoder = encoder.half().float()
    if recipe.picture_size % encoder.patch_size:
        raise ConfigError(
            f"expected a picture size that patches of {encoder.patch_size} divide, received "
            f"{recipe.picture_size}"
        )
    train = _load(recipe, recipe.rows)
    validation = None if recipe.validation_rows is None else _load(recipe, recipe.validation_rows)
    draft = _tokenizer(encoder, recipe, Codebook(torch.zeros(1, 1, encoder.dim)))
    processes = Processes()
    mine = train.pixels[processes.rank :: processes.count]
    if not len(mine):
        raise TrainingError(
            f"expected a picture for each of {processes.count} processes, received {len(train)}"
        )
    about = {
        "encoder": file_sha256(recipe.weights),
        "layer": recipe.layer,
        "data": train.sha256,
        "picture_size": recipe.picture_size,
    }
    units = cluster(
        lambda: _features(draft, mine), output, recipe.clustering, dim=encoder.dim, about=about
    )
    tokenizer = _tokenizer(encoder, recipe, units.codebook)
    if processes.rank:
        return Part(modality="image", folder=output, spec={})
    part = write_tokenizer_part(
        tokenizer,
        output,
        validation=validation,
        provenance={
            "command": "dvse train image",
            "encoder": {"name": recipe.encoder, "layer": recipe.layer, "sha256": about["encoder"]},
            "clustering": {**recipe.clustering.kmeans.to_dict(), "mode": recipe.clustering.mode},
            "data": {
                "name": recipe.data.name,
                "licence": recipe.data_licence,
                "rows": recipe.rows,
                "pictures": len(train),
                "sha256": train.sha256,
            },
            **units.figures,
        },
    )
    remove_progress(output)
    return part


def _load(recipe: FrozenImageRecipe, rows: str) -> Pictures:
    return load_pictures(
        recipe.data,
        size=recipe.picture_size,
        rows=parse_rows(rows),
        image_column=recipe.image_column,
        num_threads=recipe.threads,
    )


def _tokenizer(
    encoder: ImageEncoder, recipe: FrozenImageRecipe, codebook: Codebook
) -> ImageTokenizer:
    return ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(codebook),
        geometry=SquareGeometry(size=recipe.picture_size, patch_size=encoder.patch_size),
    )


def _features(draft: ImageTokenizer, pixels: np.ndarray) -> Iterator[np.ndarray]:
    side = pixels.shape[1] // draft.geometry.patch_size
    for start in range(0, len(pixels), _TOGETHER):
        block = pixels[start : start + _TOGETHER]
        yield from draft.embed(
            [Chunk(modality="image", data=picture, grid=(side, side)) for picture in block]
        )
