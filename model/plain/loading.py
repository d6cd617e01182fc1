"""From a decoder's directory to a `PlainDecoder`, where it is one."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from .config import PlainConfig
from .decoder import PlainDecoder

_ONE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def load_plain(directory: str | Path, *, dtype: torch.dtype | None = None) -> PlainDecoder | None:
    """Load a decoder to a CPU without transformers.

    Args:
        directory: `config.json` and safetensors as `save_pretrained` writes them.
        dtype: of the weights; by default as they are stored.

    Returns:
        The decoder; `None` where the directory asks for more than `PlainDecoder` does, or is not
        whole: the full one loads it then, or says what is wrong.
    """
    directory = Path(directory)
    config = PlainConfig.read(directory / "config.json")
    wanted = None if config is None else dtype or getattr(torch, config.dtype, None)
    if config is None or not isinstance(wanted, torch.dtype):
        return None
    try:
        weights = _read(directory, wanted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None
    with torch.device("meta"):
        decoder = PlainDecoder(config)
    if config.tie_word_embeddings:
        weights |= {"lm_head.weight": weights.get("model.embed_tokens.weight", torch.empty(0))}
    expected = {name: tensor.shape for name, tensor in decoder.state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        return None
    decoder.load_state_dict(weights, assign=True)
    if config.tie_word_embeddings:
        decoder.lm_head.weight = decoder.model.embed_tokens.weight
    return decoder.eval().requires_grad_(False)


def _read(directory: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return copies of all tensors, aligned as torch's own: what is mapped begins anywhere."""
    names = {_ONE}
    if not (directory / _ONE).is_file():
        index = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
        names = set(index["weight_map"].values())
    found = {}
    for name in sorted(names):
        with safe_open(directory / name, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                found[key] = tensors.get_tensor(key).to(dtype, copy=True)
    return found
