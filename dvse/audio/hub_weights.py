"""Weights of a speech encoder that stay on the Hub: a pinned revision and their hash."""

import hashlib
from dataclasses import dataclass

from torch import nn

from dvse.errors import BundleIntegrityError, ConfigError


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
