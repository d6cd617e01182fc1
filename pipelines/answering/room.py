"""Whether a decoder has room where it is to run, told before its weights are read.

Weights are counted from the sizes of their files, a cache from the configuration. What cannot be
known beforehand (how long prompts are, how many answers end early) is not counted: who is refused
here would have run out of memory.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.errors import BundleFormatError, ConfigError
from pipelines.answering.model_folders import CONFIG

if TYPE_CHECKING:
    import torch

    from model import DvseConfig
    from model.plain.config import PlainConfig

GIB = 1 << 30


def available_bytes() -> int:
    """Return what programs can have without swapping; Linux says it, others their page count."""
    path = Path("/proc/meminfo")
    if path.is_file():
        fields: Any = dict(line.split(":", 1) for line in path.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_on(device: str) -> int | None:
    """Return the bytes that are free on a device; `None` where nobody can say."""
    import torch

    if device == "cpu":
        return available_bytes()
    if device.startswith("cuda") and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return None


def shape_of(decoder: Path) -> "DvseConfig | PlainConfig":
    """Return the configuration of a decoder's folder, without transformers where that is enough.

    Raises:
        BundleFormatError: unreadable, or none of this decoder.
    """
    from model.plain.config import PlainConfig

    if (plain := PlainConfig.read(decoder / CONFIG)) is not None:
        return plain
    from model import DvseConfig, ModelError

    try:
        return DvseConfig.from_pretrained(decoder)
    except (ModelError, OSError) as error:
        raise BundleFormatError(f"{decoder}: the decoder cannot be loaded; {error}") from error


def itemsize_of(config: Any, dtype: "str | torch.dtype | None") -> int:
    """Return the bytes of a value of a decoder that is loaded as this dtype; 4 where none is said.

    Args:
        config: of the decoder.
        dtype: `None` and `auto` mean as it is stored.
    """
    import torch

    wanted = config.dtype if dtype in (None, "auto") else dtype
    found = getattr(torch, wanted, None) if isinstance(wanted, str) else wanted
    return found.itemsize if isinstance(found, torch.dtype) else 4


def weight_bytes(decoder: Path, dtype: "str | torch.dtype | None" = None) -> int:
    """Return what a decoder's weights take in a dtype; by default as they are stored."""
    stored = sum(file.stat().st_size for file in decoder.glob("*.safetensors"))
    if dtype in (None, "auto") or not (decoder / CONFIG).is_file():
        return stored
    config = shape_of(decoder)
    if getattr(config, "quantization_config", None) is not None:
        return stored  # integers, whatever stands beside them
    return stored * itemsize_of(config, dtype) // itemsize_of(config, None)


def token_bytes(config: Any, itemsize: int) -> int:
    """Return what the keys and values of one token take."""
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return int(values * itemsize)


def check_room(
    decoder: Path,
    *,
    device: str = "cpu",
    dtype: "str | torch.dtype | None" = None,
    num_tokens: int = 0,
    copies: int = 1,
) -> None:
    """Refuse a decoder that a device cannot hold.

    Args:
        decoder: its folder.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: of its weights there; by default as they are stored.
        num_tokens: in its cache, of one answer; beyond the decoder's context nobody asks.
        copies: of it that are held at once.

    Raises:
        ConfigError: weights and cache need more than is free.
        BundleFormatError: a configuration that cannot be read.
    """
    free = free_on(device)
    weights = copies * weight_bytes(decoder, dtype)
    cache = 0
    if num_tokens:
        config = shape_of(decoder)
        num_tokens = min(num_tokens, config.max_position_embeddings)
        cache = num_tokens * token_bytes(config, itemsize_of(config, dtype))
    if free is not None and weights + cache > free:
        beside = f" and {gib(cache)} for {num_tokens} tokens" if num_tokens else ""
        raise ConfigError(
            f"{decoder}: needs {gib(weights)} for weights{beside}, {gib(free)} are free on "
            f"{device}; take a smaller dtype or context, quantize it, or give it more memory"
        )


def gib(size: int) -> str:
    """Return bytes as people read them.

    >>> gib(3 << 29)
    '1.50 GiB'
    """
    return f"{size / GIB:.2f} GiB"
