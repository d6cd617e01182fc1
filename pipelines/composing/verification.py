"""Proving composed rows: every file has its hash, what is seen and heard is that of stored rows.

The recipe is not asked, and nothing of what wrote the rows is used: a row is taken apart at its
brackets, and each picture has to be one of the rows that its provenance names, each recording a
stretch of one, in order.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dvse.blocks import KINDS
from dvse.errors import ConfigError, DvseError
from dvse.remote.remote_path import Location
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.shard import (
    beside_shard,
    find_shards,
    read_metadata,
    read_shard,
    shard_number,
)
from dvse.vocabulary import Vocabulary
from pipelines.composing.composing import FORMAT
from pipelines.export.journal import MANIFEST, PROVENANCE_FOLDER, read_manifest
from pipelines.export.verification import ExportFindings

_COLUMNS = ["id", "sha256", "ids"]
_MOST_PROBLEMS = 100


def is_composed(folder: Location) -> bool:
    """Return whether `dvse compose` wrote what is there."""
    if not isinstance(folder, Path) or not (folder / MANIFEST).is_file():
        return False
    return read_manifest(folder)["format"] == FORMAT


def verify_composed(
    folder: Path, tokens: Sequence[Location], *, bundle: str | None = None
) -> ExportFindings:
    """Compare composed rows with the token shards that they were made from.

    Args:
        folder: that `dvse compose` wrote.
        tokens: the directories that it was given.
        bundle: the bundle that made them, by default the name that they carry.

    Raises:
        ShardError: nothing finished there, or no token shards.
        ConfigError: another bundle.
    """
    manifest = read_manifest(folder)
    found = ExportFindings()
    found.check_files(folder, manifest)
    if found.problems:
        return found
    vocabulary = Bundle.open(find_bundle(bundle or manifest["bundle"])).vocabulary
    if vocabulary.fingerprint != manifest["vocabulary_fingerprint"]:
        raise ConfigError(
            f"{folder} was made with another vocabulary than that of the bundle "
            f"{bundle or manifest['bundle']!r}; name the right one with --bundle"
        )
    stored = _Stored(tokens, manifest["bundle_fingerprint"])
    for path in find_shards(folder):
        assert isinstance(path, Path)
        noted = pq.read_table(_provenance_of(folder, shard_number(path.name))).to_pylist()
        for problem in _problems_of(path, noted, stored, vocabulary, found):
            found.problems.append(f"{path.name}: {problem}")
            if len(found.problems) >= _MOST_PROBLEMS:
                return found
    return found


def _provenance_of(folder: Path, number: int) -> Path:
    """The provenance of a shard; earlier versions had all of them beside each other."""
    name = f"{number:06d}.parquet"
    path = folder / PROVENANCE_FOLDER / beside_shard(number, name)
    return path if path.exists() else folder / PROVENANCE_FOLDER / name


class _Stored:
    """Rows of token shards by the name of their folder, shard and id; one shard is held."""

    def __init__(self, tokens: Sequence[Location], bundle_fingerprint: str) -> None:
        self._paths: dict[tuple[str, str], list[Location]] = {}
        for folder in tokens:
            for path in find_shards(folder):
                if read_metadata(path).bundle_fingerprint != bundle_fingerprint:
                    raise ConfigError(f"{path} was made with another bundle than the composed rows")
                self._paths.setdefault((folder.name, path.name), []).append(path)
        self._held: tuple[tuple[str, str], dict[tuple[str, str | None], Any]] | None = None

    def ids(self, line: dict[str, Any]) -> np.ndarray | None:
        """Return the ids of the row that a line of provenance names, `None` where there is none."""
        key = line["tokens"], line["shard"]
        if self._held is None or self._held[0] != key:
            rows = {}
            for path in self._paths.get(key, ()):
                for row in read_shard(path, _COLUMNS).to_pylist():
                    rows[row["id"], row["sha256"]] = row["ids"]
            self._held = key, rows
        ids = self._held[1].get((line["id"], line["sha256"]))
        return None if ids is None else np.asarray(ids, dtype=np.int64)


def _problems_of(
    path: Path,
    noted: Sequence[dict[str, Any]],
    stored: _Stored,
    vocabulary: Vocabulary,
    found: ExportFindings,
) -> Iterator[str]:
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in noted:
        lines.setdefault(line["row"], []).append(line)
    for row in read_shard(path, ["id", "ids"]).to_pylist():
        ids = np.asarray(row["ids"], dtype=np.int64)
        found.num_sequences += 1
        found.num_ids += len(ids)
        inputs = []
        for line in lines.pop(row["id"], []):
            if (of_input := stored.ids(line)) is None:
                yield f"{row['id']}: no row {line['id']!r} in {line['tokens']}/{line['shard']}"
            else:
                inputs.append(of_input)
        if not inputs:
            yield f"{row['id']}: provenance names no row that is there"
            continue
        try:
            have = [codes for of_input in inputs for codes in _media(of_input, vocabulary)]
            for modality, codes in _media(ids, vocabulary):
                if not any(_is_of(modality, codes, *one) for one in have):
                    yield f"{row['id']}: {len(codes)} codes of {modality} are of no row of its own"
        except DvseError as error:
            yield f"{row['id']}: {error}"
    for name in lines:
        yield f"{name}: provenance names a row that is not there"


def _media(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[tuple[str, np.ndarray]]:
    """The codes of each picture and recording of a row, runs of units taken apart."""
    kinds = vocabulary.kinds(ids)
    for modality in ("image", "audio"):
        edges = np.flatnonzero(np.diff(np.r_[False, kinds == KINDS.index(modality), False]))
        for start, stop in edges.reshape(-1, 2):
            yield modality, vocabulary.codes_of(modality, ids[start:stop])[0]


def _is_of(modality: str, codes: np.ndarray, whose: str, stored: np.ndarray) -> bool:
    """Whether these are the codes of a stored picture, or a stretch of those of a recording."""
    if modality != whose or len(codes) > len(stored):
        return False
    if modality == "image":
        return np.array_equal(codes, stored)
    windows = np.lib.stride_tricks.sliding_window_view(stored, len(codes))
    return bool((windows == codes).all(axis=1).any())
