"""The shards that are read together: their paths, and the lengths of the rows that are meant."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from dvse.errors import ShardError
from dvse.remote.remote_path import Location, RemotePath, location
from dvse.storage.shard import PATTERN, ShardMetadata, find_shards, read_metadata, read_shard

T = TypeVar("T")
Shards: TypeAlias = str | Path | RemotePath | Sequence[str | Path | RemotePath]

_AT_ONCE = 16


class ShardSet:
    """Token shards of one vocabulary.

    Args:
        folder: directory with shards, here or in a store, or a list of shard files.
        modalities: only rows of these.

    Attributes:
        paths: the shards.
        metadata: of the first one.
        row_lengths: for each shard, the ids in each of its rows, `int64 [rows]`.
        lengths: the same, 0 where a row's modality was not chosen.

    Raises:
        ShardError: no shards there, shards of different vocabularies, or a corrupt one.
    """

    def __init__(self, folder: Shards, modalities: Sequence[str] | None = None) -> None:
        self.modalities = None if modalities is None else tuple(modalities)
        self.paths = _find_shards(folder)
        described = _each(read_metadata, self.paths)
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
        for column, lengths in zip(_each(_modalities, self.paths), self.lengths, strict=True):
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
        for column, lengths in zip(_each(_modalities, self.paths), self.row_lengths, strict=True):
            chosen.append(np.where(np.isin(column, self.modalities), lengths, 0))
        return chosen


def _modalities(path: Location) -> np.ndarray:
    return read_shard(path, columns=["modality"])["modality"].to_numpy().astype(str)


def _each(read: Callable[[Location], T], paths: Sequence[Location]) -> list[T]:
    """Read something of each shard; those in a store several at a time, since answers take long."""
    if not any(isinstance(path, RemotePath) for path in paths):
        return [read(path) for path in paths]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(read, paths))


def _find_shards(folder: Shards) -> list[Location]:
    if isinstance(folder, str | Path | RemotePath):
        paths = find_shards(location(folder))
        if not paths:
            raise ShardError(f"{folder}: expected {PATTERN} written by dvse tokenize, found none")
        return paths
    paths = [location(path) for path in folder]
    if not paths:
        raise ShardError("expected at least one shard, received an empty list")
    return paths
