"""Where a tokenizer came from: enough to have the same one again in another process.

What is pickled is this description and never a weight, so a `DataLoader` with `spawn` or a hash of
a function that uses a tokenizer costs a few bytes, and equal tokenizers have equal hashes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dvse.errors import BundleIntegrityError
from dvse.numerics import NumericsProfile
from dvse.storage.bundle import Bundle
from dvse.storage.finding import SHIPPED


def source_of(folder: Path) -> str:
    """Return by what a directory is found again: its shipped name, or its absolute path.

    >>> source_of(SHIPPED / "tiny")
    'tiny'
    """
    folder = folder.absolute()
    return folder.name if folder.parent == SHIPPED else str(folder)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A tokenizer by name or path, what it was, and how it was loaded.

    Attributes:
        source: shipped name or absolute path.
        fingerprint: of the bundle, as it was when it was loaded.
        device, threads, precision, batch_tokens: as `dvse.load` takes them.
    """

    source: str
    fingerprint: str
    device: str
    threads: int
    precision: str = "float32"
    batch_tokens: int | None = None

    @classmethod
    def of(cls, bundle: Bundle, *, device: str, profile: NumericsProfile) -> Self:
        """Describe a tokenizer that is made from an opened bundle."""
        return cls(
            source=source_of(bundle.folder),
            fingerprint=bundle.fingerprint,
            device=device,
            threads=profile.threads,
            precision=profile.precision,
            batch_tokens=profile.batch_tokens,
        )

    def how(self) -> dict[str, Any]:
        """Return what `dvse.load` takes beside the name."""
        names = ("device", "threads", "precision", "batch_tokens")
        return {name: getattr(self, name) for name in names}

    def check(self, fingerprint: str) -> None:
        """Refuse another bundle than the one that was described.

        Raises:
            BundleIntegrityError: another one lies there now.
        """
        if fingerprint != self.fingerprint:
            raise BundleIntegrityError(
                f"{self.source}: expected the bundle with fingerprint {self.fingerprint[:16]}…, "
                f"which was pickled, found {fingerprint[:16]}…; pickle it again"
            )
