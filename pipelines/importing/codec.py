"""Published neural codecs as an audio part: `import_codec`.

Mimi, DAC and EnCodec out of directories of transformers. transformers' own loader reads them, which
opens torch files as tensors alone; nothing in them is run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dvse.audio.codec import ARCHITECTURES, Codec, CodecConfig, classes
from dvse.audio.codec_tokenizer import CodecTokenizer
from dvse.audio.resampling import RESAMPLER
from dvse.audio.whole_model import whole_model
from dvse.errors import BundleNotFoundError, WeightsFormatError
from dvse.storage.file_hash import file_sha256
from dvse.storage.part import Part
from pipelines.importing.codec_choices import CodecChoices, LastChunk, Loudness
from pipelines.importing.model_folder import read_json
from pipelines.importing.new_folder import new_folder

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PLACES = ("encoder", "decoder", "quantizer")  # a config.json that counts fewer of their layers
_OF_THE_LIBRARY = ("architectures", "dtype", "torch_dtype", "transformers_version", "model_type")


def import_codec(
    source: Path,
    output: Path,
    *,
    num_levels: int | None = None,
    chunk_s: float | None = None,
    last_chunk: LastChunk | None = None,
    loudness: Loudness | None = None,
    licence: str = "",
) -> Part:
    """Write the part into `output`, whole or not at all.

    Args:
        source: a directory of transformers.
        num_levels: residual levels to use, the first of those that it has.
        chunk_s: seconds that it sees at once; longer recordings are cut, without overlap. A codec
            with stretches of its own (EnCodec of 48 kHz) has those.
        last_chunk: what such a codec does with the last stretch, `short` as its authors' code, or
            `filled` up with silence as transformers' feature extractor. By default what a
            `preprocessor_config.json` beside it says.
        loudness: a codec that scales each stretch says its power as one more `level`, or `none`.

    Raises:
        BundleError: no such codec, or damaged.
        ConfigError: what nobody has said, more levels than it has, or an output folder in use.
        TrainingError: the disk is full.
    """
    source = Path(source)
    with new_folder(output, "the part") as folder:
        config = _config_in(source)
        choices = CodecChoices(
            num_levels=num_levels, chunk_s=chunk_s, last_chunk=last_chunk, loudness=loudness
        )
        choices = choices.completed(source, config)
        codec = _codec(source, config, choices)
        _try_out(source, codec)
        tokenizer = CodecTokenizer(codec=codec, windowing=choices.windowing(codec))
        tokenizer.save_files(folder)
        weights = _weights_in(source)
        Part(
            modality="audio",
            folder=folder,
            spec=tokenizer.spec(),
            provenance={
                "command": "dvse import codec",
                "family": codec.config.architecture,
                "weights": {"file": weights.name, "sha256": file_sha256(weights)},
                "settings": {
                    **choices.settings(codec),
                    "sample_rate_hz": codec.sample_rate_hz,
                    "channels": codec.num_channels,
                    "resampler": RESAMPLER,
                },
                "licence": licence,
            },
        ).save()
    return Part.load(output, modality="audio")


def _config_in(source: Path) -> dict[str, Any]:
    config = read_json(source / "config.json")
    if not config:
        raise BundleNotFoundError(
            f"{source}: expected a directory of transformers with a config.json"
        )
    if config.get("model_type") not in ARCHITECTURES:
        raise WeightsFormatError(
            f"{source}: expected a codec among {', '.join(ARCHITECTURES)}, received "
            f"{config.get('model_type')!r}"
        )
    return config


def _codec(source: Path, config: Mapping[str, Any], choices: CodecChoices) -> Codec:
    _weights_in(source)
    architecture = config["model_type"]
    _, model_class = classes(architecture)
    try:
        model = whole_model(model_class, str(source), has_no_more_of=_PLACES, local_files_only=True)
    except BundleNotFoundError as error:  # the file is there, so it is damaged
        raise WeightsFormatError(
            f"{source}: expected the weights of {architecture}, whole; {error}"
        ) from error
    fields = {n: v for n, v in config.items() if n not in _OF_THE_LIBRARY}
    described = CodecConfig(
        architecture=architecture,
        num_levels=choices.num_levels or 0,
        config=json.loads(json.dumps(fields)),
        keep_loudness=choices.loudness == "level",
    )
    return Codec(described, model)


def _try_out(source: Path, codec: Codec) -> None:
    """Encode a little silence: transformers takes fields that fail, or compute NaN, later."""
    num_samples = codec.chunk[0] if codec.chunk else 4 * codec.grid.stride
    shape = (1, num_samples) if codec.num_channels == 1 else (1, num_samples, 2)
    try:
        features = codec(torch.zeros(shape))[0]
        codec.encode(features)
    except Exception as error:  # of transformers and torch, of many kinds
        raise WeightsFormatError(
            f"{source}: a config.json with which its weights encode nothing; "
            f"{' '.join(str(error).split())[:160]}"
        ) from error
    if not torch.isfinite(features).all():
        raise WeightsFormatError(
            f"{source}: a config.json with which its weights make NaN or infinity of silence"
        )


def _weights_in(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise BundleNotFoundError(f"{folder}: expected {' or '.join(_WEIGHTS)}")
