"""Weights of a speech encoder: beside the spec as safetensors, or on the Hub under a pinned hash.

Nothing here opens a pickle of a bundle. A file holds half precision where that loses nothing, so
an encoder that was rounded before its codebook was fitted takes half the space.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dvse.errors import (
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    ConfigError,
    UnsafeFileError,
)


@dataclass(frozen=True, kw_only=True)
class HubWeights:
    """An encoder of the Hugging Face Hub.

    Attributes:
        repo: for example `facebook/hubert-base-ls960`.
        revision: a commit, tag or branch; `None` is the default branch.
        sha256: of the weights up to the layer in use, see `weights_sha256`; checked on loading.
    """

    repo: str
    revision: str | None = None
    sha256: str

    def __post_init__(self) -> None:
        for name, value in (("repo", self.repo), ("sha256", self.sha256)):
            if not isinstance(value, str) or not value:
                raise ConfigError(f"expected a text as {name}, received {value!r}")
        if self.revision is not None and not isinstance(self.revision, str):
            raise ConfigError(f"expected a text as revision, received {self.revision!r}")

    def check(self, module: nn.Module) -> None:
        """Compare the weights that were loaded with those the bundle was made with.

        Raises:
            BundleIntegrityError: they differ.
        """
        if (found := weights_sha256(module)) != self.sha256:
            raise BundleIntegrityError(
                f"{self.repo}: expected weights with sha256 {self.sha256}, received {found}; "
                "pin the revision that the bundle was made with"
            )


def weights_sha256(module: nn.Module) -> str:
    """Return a hash of all tensors of a module: names, shapes and fp32 bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round the weights in place to values that half precision holds; they stay fp32.

    Raises:
        ConfigError: a weight beyond 65,504, the largest number of that precision.
    """
    for name, value in module.state_dict().items():
        rounded = value.half().float()
        if not torch.isfinite(rounded).all():
            raise ConfigError(f"{name}: beyond the range of half precision; store it in fp32")
        value.copy_(rounded)


def write_weights(module: nn.Module, path: Path) -> None:
    """Write a module's tensors to a safetensors file, each in half precision where exact."""
    tensors = {name: _smallest(value) for name, value in module.state_dict().items()}
    path.write_bytes(save(tensors))  # `save_file` would leave large files unreadable to others


def read_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from what `write_weights` wrote.

    Raises:
        BundleNotFoundError: no such file.
        UnsafeFileError: a pickle.
        BundleFormatError: no safetensors file, weights of another network, or not finite.
    """
    tensors = _read_tensors(path)
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise BundleFormatError(f"{path}: tensor {name!r} holds NaN or infinity; train again")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:300]
        raise BundleFormatError(f"{path}: weights of another network; {message}") from error


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise BundleNotFoundError(f"{path}: expected a file of weights, there is none")
    with path.open("rb") as file:
        start = file.read(9)
    # The size that a safetensors file begins with can have the first byte of a pickle.
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):
        raise UnsafeFileError(
            f"{path}: expected safetensors, received a pickle, which could run code; convert it "
            "with safetensors.torch.save_file"
        )
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleFormatError(f"{path}: expected a safetensors file; {error}") from error


def _smallest(value: Tensor) -> Tensor:
    value = value.detach().cpu().float()
    half = value.half()
    return (half if torch.equal(half.float(), value) else value).contiguous().clone()
