"""Weights of an image encoder that stay on the Hub: a pinned file and its hash."""

import re
from dataclasses import dataclass
from pathlib import Path

from dvse.errors import BundleIntegrityError, BundleNotFoundError, ConfigError
from dvse.storage.file_hash import file_sha256


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
