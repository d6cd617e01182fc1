"""From a trained codec to a part on disk: the tokenizer's files, its figures and where it is from.

Weights are rounded to half precision first. The figures are measured on the files as written,
through the same calls that a user makes.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dvse.image.geometry import Geometry
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.part import Part
from dvse.storage.weights import round_to_half
from pipelines.training.image.codec import ImageCodec
from pipelines.training.image.figures import measure_tokenizer
from pipelines.training.image.pictures import Pictures
from pipelines.training.parts import writing_part

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
    with writing_part(folder):
        tokenizer.save_files(folder)
    saved = ImageTokenizer.from_spec(tokenizer.spec(), folder)
    part = Part(
        modality="image",
        folder=folder,
        spec=saved.spec(),
        metrics={} if validation is None else measure_tokenizer(saved, validation),
        provenance={**provenance, "versions": {name: version(name) for name in _PACKAGES}},
    )
    with writing_part(folder):
        part.save()
    return part
