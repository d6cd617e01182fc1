"""Where the weights of an image encoder come from: safetensors in a folder, or on the Hub.

Nothing here opens a pickle. Weights are kept in half precision where a tokenizer stores its own
(they are read back into fp32, so every machine computes with the same numbers).
"""

import hashlib
import re
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
    """A safetensors file of a Hugging Face repository, pinned.

    Attributes:
        repo: for example `timm/vit_small_patch16_224.augreg_in21k`.
        revision: a commit, tag or branch; give a commit where tokens must never change.
        filename: inside the repository.
        sha256: of the file; checked on loading where given.
    """

    repo: str
    revision: str = "main"
    filename: str = "model.safetensors"
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise ConfigError(f"expected a Hub repository OWNER/NAME, received {self.repo!r}")
        if not self.filename.endswith(".safetensors"):
            raise ConfigError(f"expected a .safetensors file, received {self.filename!r}")

    def fetch(self) -> Path:
        """Return the local path of the file, downloaded where it is not in the cache.

        Raises:
            BundleNotFoundError: not in the cache and not to be had.
            BundleIntegrityError: another hash than recorded.
        """
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(self.repo, self.filename, revision=self.revision))
        except Exception as error:  # network, access and repository errors of many kinds
            raise BundleNotFoundError(
                f"{self.repo}@{self.revision}: {self.filename} is neither in the local cache nor "
                f"could it be downloaded; {type(error).__name__}"
            ) from error
        if self.sha256 is not None and (found := file_sha256(path)) != self.sha256:
            raise BundleIntegrityError(
                f"{self.repo}@{self.revision}: expected {self.filename} with sha256 "
                f"{self.sha256}, received {found}; pin the revision it was made with"
            )
        return path


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def write_module(module: nn.Module, path: Path) -> None:
    """Write a module's tensors to a safetensors file in half precision."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous().clone()
        for name, value in module.state_dict().items()
    }
    path.write_bytes(save(tensors))  # save_file would leave a file that only its owner can read


def read_module(module: nn.Module, path: Path) -> None:
    """Fill a module from what `write_module` wrote.

    Raises:
        BundleFormatError: tensors missing, unknown or of another shape, or not finite.
    """
    tensors = read_tensors(path)
    _check_finite(tensors, path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:300]
        raise BundleFormatError(f"{path}: weights of another network; {message}") from error


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BundleFormatError(f"{path}: tensor {name!r} holds NaN or infinity; train again")
