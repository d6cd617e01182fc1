"""Weights of a network in a safetensors file. Nothing here opens a pickle, which could run code.

A file holds half precision where that loses nothing, so weights that `round_to_half` has rounded,
before anything is measured on them, take half the space. They are read back into fp32: every
machine computes with the same numbers.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError, UnsafeFileError


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round the weights in place to values that half precision holds; they stay fp32.

    Raises:
        ConfigError: a weight beyond 65,504, the largest number of that precision.
    """
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        rounded = value.half().float()
        if not torch.isfinite(rounded).all():
            raise ConfigError(f"{name}: beyond the range of half precision; store it in fp32")
        value.copy_(rounded)


def write_module(module: nn.Module, path: Path) -> None:
    """Write a module's tensors to a safetensors file, each in half precision where exact."""
    tensors = {name: _smallest(value) for name, value in module.state_dict().items()}
    path.write_bytes(save(tensors))  # `save_file` would leave large files unreadable to others


def read_module(module: nn.Module, path: Path) -> None:
    """Fill a module from what `write_module` wrote.

    Raises:
        BundleNotFoundError: no such file.
        UnsafeFileError: a pickle.
        BundleFormatError: no safetensors file, weights of another network, or not finite.
    """
    tensors = read_tensors(path)
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BundleFormatError(f"{path}: tensor {name!r} holds NaN or infinity; train again")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:300]
        raise BundleFormatError(f"{path}: weights of another network; {message}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, floating ones in fp32.

    Raises:
        BundleNotFoundError: no such file.
        UnsafeFileError: a pickle.
        BundleFormatError: anything else that is no safetensors file.
    """
    if not path.is_file():
        raise BundleNotFoundError(f"{path}: expected a file of weights, there is none")
    with path.open("rb") as file:
        start = file.read(9)
    # A zip (torch's format) or a bare pickle. A safetensors header may begin with the same byte,
    # but its ninth one opens a JSON object.
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):
        raise UnsafeFileError(
            f"{path}: expected safetensors, received a pickle, which could run code; convert it "
            "with safetensors.torch.save_file"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleFormatError(f"{path}: expected a safetensors file; {error}") from error
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def _smallest(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    if not value.is_floating_point():
        return value.contiguous().clone()
    value = value.float()
    half = value.half()
    return (half if torch.equal(half.float(), value) else value).contiguous().clone()
