"""Settings of an export."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location

WHOLE = MappingProxyType({"train": 1.0})
MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        tokens: directory of the token shards, here or in a store.
        output: directory of the export, here or in a store.
        splits: name → share of the documents; the shares add up to 1.
        seed: of the split.
        end_id: id put behind every document, `None` for none.
        piece_bytes: bytes of ids a piece at most (one document may be larger). A piece is what
            a worker writes at once and, in formats of many files, one file.

    Raises:
        ConfigError: a setting outside its range.
    """

    tokens: Location
    output: Location
    splits: Mapping[str, float] = field(default_factory=lambda: dict(WHOLE))
    seed: int = 0
    end_id: int | None = None
    piece_bytes: int = 64 * MEGABYTE

    def __post_init__(self) -> None:
        if self.piece_bytes < 1:
            raise ConfigError(f"--piece-mb: expected more than 0, received {self.piece_bytes} B")
        shares = list(self.splits.values())
        if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ConfigError(
                "--split: expected shares above 0 that add up to 1, received "
                + " ".join(f"{name}:{share:g}" for name, share in self.splits.items())
            )
        for name in self.splits:
            if not name.replace("-", "").replace("_", "").isalnum() or name == "provenance":
                raise ConfigError(
                    f"--split: expected a name of letters, digits, - and _, received {name!r}"
                )

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share to be one export, as JSON."""
        return {
            "splits": dict(self.splits),
            "seed": self.seed,
            "end_id": self.end_id,
            "piece_bytes": self.piece_bytes,
        }
