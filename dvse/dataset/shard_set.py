"""The shards that are read together: their paths, and the lengths of the rows that are meant."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dvse.errors import ShardError
from dvse.storage.shard import PATTERN, ShardMetadata, read_metadata, read_shard


class ShardSet:
    """Token shards of one vocabulary.

    Args:
        folder: directory with shards, or a list of shard files.
        modalities: only rows of these.

    Attributes:
        paths: the shards.
        metadata: of the first one.
        row_lengths: for each shard, the ids in each of its rows, `int64 [rows]`.
        lengths: the same, 0 where a row's modality was not chosen.

    Raises:
        ShardError: no shards there, shards of different vocabularies, or a corrupt one.
    """

    def __init__(
        self, folder: str | Path | Sequence[str | Path], modalities: Sequence[str] | None = None
    ) -> None:
        self.modalities = None if modalities is None else tuple(modalities)
        self.paths = _find_shards(folder)
        described = [read_metadata(path) for path in self.paths]
        self.metadata: ShardMetadata = described[0]
        self._check_vocabularies(described)
        self.row_lengths = [metadata.lengths for metadata in described]
        self.lengths = self._chosen_lengths()

    @property
    def num_documents(self) -> int:
        """Rows with ids (of the chosen modalities)."""
        return sum(int((lengths > 0).sum()) for lengths in self.lengths)

    @property
    def num_ids(self) -> int:
        """Ids of these rows."""
        return sum(int(lengths.sum()) for lengths in self.lengths)

    def ids_by_modality(self) -> dict[str, int]:
        """Return how many ids there are of each modality (of those chosen)."""
        found: dict[str, int] = {}
        for path, lengths in zip(self.paths, self.lengths, strict=True):
            column = read_shard(path, columns=["modality"])["modality"].to_numpy().astype(str)
            for modality in np.unique(column):
                count = int(lengths[column == modality].sum())
                found[str(modality)] = found.get(str(modality), 0) + count
        return {modality: count for modality, count in sorted(found.items()) if count}

    def sha256(self) -> str:
        """Return a hash (hex) of names and lengths: what decides an order of the rows."""
        digest = hashlib.sha256()
        for path, lengths in zip(self.paths, self.lengths, strict=True):
            digest.update(path.name.encode("utf-8", "surrogateescape") + b"\0")
            digest.update(lengths.tobytes())
        return digest.hexdigest()

    def _check_vocabularies(self, described: Sequence[ShardMetadata]) -> None:
        for path, metadata in zip(self.paths, described, strict=True):
            if metadata.vocabulary_fingerprint != self.metadata.vocabulary_fingerprint:
                raise ShardError(
                    f"{self.paths[0].name} and {path.name} were written with different "
                    "vocabularies; their ids mean different things, so read them apart"
                )

    def _chosen_lengths(self) -> list[np.ndarray]:
        if self.modalities is None:
            return self.row_lengths
        chosen = []
        for path, lengths in zip(self.paths, self.row_lengths, strict=True):
            column = read_shard(path, columns=["modality"])["modality"].to_numpy()
            chosen.append(np.where(np.isin(column.astype(str), self.modalities), lengths, 0))
        return chosen


def _find_shards(folder: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(folder, str | Path):
        paths = sorted(Path(folder).glob(PATTERN))
        if not paths:
            raise ShardError(f"{folder}: expected {PATTERN} written by dvse tokenize, found none")
        return paths
    paths = [Path(path) for path in folder]
    if not paths:
        raise ShardError("expected at least one shard, received an empty list")
    return paths
