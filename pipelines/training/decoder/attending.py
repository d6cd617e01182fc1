"""How a decoder attends while it is trained, told to be impossible before anything is loaded."""

import importlib.util

import torch

from dvse.errors import ConfigError

_EVERYWHERE = ("sdpa", "eager")
_ON_CARDS = {"flex_attention": None, "flash_attention_2": "flash_attn"}


def check_attention(name: str | None) -> None:
    """Refuse an attention that does not exist or cannot be trained with here.

    Args:
        name: as transformers names it; `None` is its own choice.

    Raises:
        ConfigError: no such attention, no card for it, or its package is missing.

    Example:
        >>> check_attention("sdpa")
        >>> check_attention("linear")
        Traceback (most recent call last):
        ...
        dvse.errors.ConfigError: attention: expected sdpa, eager, flex_attention or \
flash_attention_2, received 'linear'
    """
    if name is None or name in _EVERYWHERE:
        return
    if name not in _ON_CARDS:
        *others, last = (*_EVERYWHERE, *_ON_CARDS)
        raise ConfigError(f"attention: expected {', '.join(others)} or {last}, received {name!r}")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"attention = {name!r}: its backward pass runs on cards alone, and torch finds none "
            "here; take sdpa"
        )
    package = _ON_CARDS[name]
    if package is not None and importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"attention = {name!r}: the package {package} is not installed; install it beside "
            "torch, or take sdpa or flex_attention"
        )
