"""The VQ models inside Chameleon, Emu3 and Janus, out of directories of transformers.

How pictures are brought to size comes from `preprocessor_config.json`; what that leaves open has to
be said. Janus's describes the pictures that its language model reads, not those that become codes.
"""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dvse.codebook import Codebook
from dvse.errors import WeightsFormatError
from dvse.image.geometry import Geometry
from dvse.image.published_geometry import AreaGeometry, CropGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.image.vq_models import VqConfig, VqDecoder, VqEncoder, has_decoder
from pipelines.importing.filling import filled, need_codes, refuse_unknown
from pipelines.importing.image_settings import ImageSettings
from pipelines.importing.model_folder import PublishedModel

_CODES = "quantize.embedding.weight"
_IN, _BACK = ("encoder.", "quant_conv."), ("decoder.", "post_quant_conv.")
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_PLACES = ("model.vqmodel.", "vqmodel.", "model.vision_model.vqmodel.", "")


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """Return which VQ model a configuration of transformers describes, `None` for others.

    >>> architecture_of({"model_type": "chameleon"}), architecture_of({"model_type": "emu3_vqgan"})
    ('chameleon', 'emu3')
    """
    kind = str(config.get("model_type", "")).removesuffix("_vqgan")
    return kind if kind in ("chameleon", "emu3", "janus") else None


def is_of_vq_model(name: str) -> bool:
    """Whether a tensor of a whole model belongs to its VQ model."""
    return "vqmodel." in name or name.startswith((*_IN, *_BACK, "quantize."))


def vq_tokenizer(model: PublishedModel, settings: ImageSettings) -> ImageTokenizer:
    """Return the tokenizer, with its way back where transformers has one.

    Raises:
        WeightsFormatError: tensors that are missing, unknown, or do not fit together.
        ConfigError: what the files leave open.
    """
    where, architecture = model.where, architecture_of(model.config)
    assert architecture is not None
    settings.refuse(where, "num_heads", "metric")
    said = settings.over(_recorded(architecture, model.preprocessor))
    said.need(where, "mean", "std", "resample")
    assert said.mean is not None and said.std is not None
    config = VqConfig(
        architecture=architecture, config=_fields(model.config), mean=said.mean, std=said.std
    )
    tensors = _own(where, model.tensors)
    encoder = VqEncoder(config)
    filled(encoder, _starting(tensors, _IN), where)
    decoder = None
    if has_decoder(architecture):
        decoder = VqDecoder(config)
        filled(decoder, _starting(tensors, _BACK), where)
    refuse_unknown(
        where,
        tensors,
        {n for n in tensors if n == _CODES or n.startswith((*_IN, *_BACK))},
        f"the VQ model of {architecture}",
    )
    book = need_codes(where, tensors, _CODES, encoder.dim)
    return ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(Codebook(book[None])),
        decoder=decoder,
        geometry=_geometry(where, architecture, encoder.patch_size, said),
    )


def _recorded(architecture: str, preprocessor: Mapping[str, Any]) -> ImageSettings:
    """Return what `preprocessor_config.json` says of pictures that become codes."""
    if architecture == "janus" or not preprocessor:
        return ImageSettings()
    scale = 255 * float(preprocessor.get("rescale_factor", 1 / 255))
    scaled = {
        name: tuple(float(value) / scale for value in preprocessor[f"image_{name}"])
        for name in ("mean", "std")
        if f"image_{name}" in preprocessor
    }
    size, crop = preprocessor.get("size") or {}, preprocessor.get("crop_size") or {}
    is_area = architecture == "emu3"
    return ImageSettings(
        resample=_FILTERS.get(preprocessor.get("resample", 0)),  # type: ignore[arg-type]
        mean=scaled.get("mean"),
        std=scaled.get("std"),
        resize=None if is_area else size.get("shortest_edge"),
        size=None if is_area else crop.get("height"),
        min_pixels=preprocessor.get("min_pixels") if is_area else None,
        max_pixels=preprocessor.get("max_pixels") if is_area else None,
    )


def _geometry(where: str, architecture: str, patch_size: int, said: ImageSettings) -> Geometry:
    assert said.resample is not None
    if architecture == "emu3":
        said.refuse(where, "resize", "size")
        said.need(where, "min_pixels", "max_pixels")
        assert said.min_pixels is not None and said.max_pixels is not None
        return AreaGeometry(
            patch_size=patch_size,
            min_pixels=said.min_pixels,
            max_pixels=said.max_pixels,
            resample=said.resample,
        )
    said.refuse(where, "min_pixels", "max_pixels")
    said.need(where, "resize", "size")
    assert said.resize is not None and said.size is not None
    return CropGeometry(
        resize=said.resize, size=said.size, patch_size=patch_size, resample=said.resample
    )


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the VQ model's configuration, out of a whole model's too."""
    inner = config.get("vq_config", config)
    left_out = ("architectures", "dtype", "torch_dtype", "transformers_version", "model_type")
    fields = {n: v for n, v in dict(inner).items() if n not in left_out and not n.startswith("_")}
    return json.loads(json.dumps(fields))


def _own(where: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the VQ model's tensors without their place in a whole model."""
    for place in _PLACES:
        if place + _CODES in tensors:
            return {n[len(place) :]: t for n, t in tensors.items() if n.startswith(place)}
    raise WeightsFormatError(f"{where}: expected a VQ model with {_CODES!r}, there is none")


def _starting(tensors: Mapping[str, Tensor], starts: tuple[str, ...]) -> dict[str, Tensor]:
    return {n: t for n, t in tensors.items() if n.startswith(starts)}
