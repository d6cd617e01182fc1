"""Weights of networks that judge pictures, given by path: tensors alone, nothing in them is run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dvse.errors import BundleNotFoundError, WeightsFormatError


def read_judge(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return the tensors of files of torch or safetensors together, by name.

    Raises:
        BundleNotFoundError: no such file.
        WeightsFormatError: no file of tensors alone.
    """
    found: dict[str, Tensor] = {}
    for path in paths:
        if not path.is_file():
            raise BundleNotFoundError(f"{path}: expected a file of weights, there is none")
        found.update(_tensors(path))
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        if is_safetensors:
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): tensor.detach() for name, tensor in content.items()}
    except Exception as error:  # torch refuses other objects, and damage, in many ways
        raise WeightsFormatError(
            f"{path}: expected a file of tensors by name, whole and without anything that would "
            f"have to be run; {' '.join(str(error).split())[:120]}"
        ) from error
