"""Loading a model for answers alone: without transformers, where its decoder is a plain one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.answering.model_directory import LoadedModel, check_belong, load_model
from pipelines.answering.model_folders import CONFIG, find_model
from pipelines.answering.room import check_room
from pipelines.answering.weight_format import Quantization, dtype_of

if TYPE_CHECKING:
    import torch

_ADAPTERS = "adapter_config.json"


def load_to_answer(
    name: str | Path,
    *,
    device: str = "cpu",
    dtype: "str | torch.dtype | None" = None,
    quantize: Quantization | None = None,
    **encoders: Any,
) -> LoadedModel:
    """Load a decoder with its tokenizer, to answer and nothing else.

    On a CPU a decoder without experts, quantized weights and adapters is a
    `model.plain.decoder.PlainDecoder`: it is there in half the time, and its numbers are the same.
    Any other is the full one.

    Args:
        name, device, dtype, quantize: as `load_model` takes them.
        encoders: what `dvse.load` takes beside: threads, precision, batch_tokens.

    Raises:
        BundleError, ModelMismatchError, ConfigError: as `load_model` does.
    """
    folders = find_model(name)
    folders.refuse_export()

    import dvse
    from model.plain.config import PlainConfig
    from model.plain.loading import load_plain

    wanted = dtype_of(dtype)
    has_adapters = folders.adapters is not None or (folders.decoder / _ADAPTERS).is_file()
    check_room(folders.decoder, device=device, dtype=wanted)
    config = PlainConfig.read(folders.decoder / CONFIG)
    if config is None or device != "cpu" or quantize is not None or has_adapters:
        return load_model(name, device=device, dtype=dtype, quantize=quantize, **encoders)
    tokenizer = dvse.load(folders.bundle, device=device, **encoders)
    check_belong(config, tokenizer.fingerprint, folders)
    decoder = load_plain(folders.decoder, dtype=None if isinstance(wanted, str) else wanted)
    if decoder is None:  # the full one says what is wrong with its weights
        return load_model(name, device=device, dtype=dtype, quantize=quantize, **encoders)
    return LoadedModel(name=folders.name, model=decoder, tokenizer=tokenizer, device=device)
