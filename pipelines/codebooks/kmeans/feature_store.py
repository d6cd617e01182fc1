"""Features on disk: numbered `.npy` files, mapped into memory, and a manifest that comes last.

A store is written block by block in bounded memory. `features.json` is written when everything
else has reached the disk, so a store without it is unfinished and is refused.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import torch
from torch import Tensor

from dvse.errors import MissingExtraError, StorageError, TrainingError
from dvse.remote.remote_path import Location, location
from dvse.storage.atomic_file import sync_directory, write_atomically
from dvse.storage.local_cache import LocalCache
from pipelines.codebooks.kmeans.features import Features
from pipelines.runs.storage import cannot_write

MANIFEST = "features.json"
FORMAT = "dvse-features"
FORMAT_VERSION = 1

StoredDtype = Literal["float32", "float16"]


class FeatureStoreWriter:
    """Writes a store; used as a context manager, an exception leaves no manifest behind.

    Args:
        folder: made if it is missing; an unfinished store in it is replaced.
        dim: width of the features.
        dtype: `float16` halves the disk, and rounds.
        shard_rows: rows of one file.
        about: what the features are of (encoder, layer, data), kept in the manifest.

    Raises:
        TrainingError: the folder holds a finished store, or something that is no store.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with FeatureStoreWriter(Path(folder) / "f", dim=2) as writer:
    ...         writer.add(np.ones((3, 2), np.float32))
    ...     FeatureStore.open(Path(folder) / "f").num_rows
    3
    """

    def __init__(
        self,
        folder: Path,
        *,
        dim: int,
        dtype: StoredDtype = "float32",
        shard_rows: int = 262_144,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder, self._dim, self._dtype = Path(folder), dim, np.dtype(dtype)
        self._shard_rows, self._about = shard_rows, dict(about or {})
        self._shard: BinaryIO | None = None
        self._filled = 0
        self._counts: list[int] = []
        self._prepare_folder()

    @property
    def num_rows(self) -> int:
        """Rows written so far."""
        return sum(self._counts) + self._filled

    def add(self, vectors: np.ndarray) -> None:
        """Append rows `[n, dim]`.

        Raises:
            TrainingError: another width, values that are not finite, or a full disk.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self._dim:
            raise TrainingError(
                f"expected features [n, {self._dim}], received shape {list(vectors.shape)}"
            )
        with np.errstate(over="ignore"):
            stored = vectors.astype(self._dtype)
        if not np.isfinite(stored).all():
            raise TrainingError(
                f"expected features that {self._dtype} can hold, received NaN, infinity or larger "
                "ones; check the encoder, or store float32"
            )
        try:
            at = 0
            while at < len(stored):
                if self._shard is None:
                    self._shard = self._open_shard()
                room = min(self._shard_rows - self._filled, len(stored) - at)
                self._shard.write(np.ascontiguousarray(stored[at : at + room]).data)
                self._filled, at = self._filled + room, at + room
                if self._filled == self._shard_rows:
                    self._close_shard()
        except OSError as error:
            raise self._cannot_write(error) from error

    def finish(self) -> "FeatureStore":
        """Flush everything, write the manifest and open the store.

        Raises:
            TrainingError: no rows were added, or the disk is full.
        """
        if not self.num_rows:
            raise TrainingError(f"{self._folder}: expected features to keep, received none")
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dim": self._dim,
            "dtype": self._dtype.name,
            "rows": self._counts,
            "about": self._about,
        }
        try:
            self._close_shard()
            sync_directory(self._folder)
            data = json.dumps(document, indent=2, ensure_ascii=False).encode()
            write_atomically(self._folder / MANIFEST, data)
        except OSError as error:
            raise self._cannot_write(error) from error
        return FeatureStore.open(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            with contextlib.suppress(OSError):
                if self._shard is not None:
                    self._shard.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _prepare_folder(self) -> None:
        if (self._folder / MANIFEST).exists():
            raise TrainingError(
                f"{self._folder}: holds finished features already; use them, or delete the folder"
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            strangers = [p.name for p in self._folder.iterdir() if p.suffix != ".npy"]
            if strangers:
                raise TrainingError(
                    f"{self._folder}: expected a new folder for features, it holds {strangers[0]}"
                )
            for path in self._folder.iterdir():
                path.unlink()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _open_shard(self) -> BinaryIO:
        path = self._folder / _shard_name(len(self._counts))
        file = path.open("w+b")
        _write_header(file, self._dtype, self._shard_rows, self._dim)
        return file

    def _close_shard(self) -> None:
        if self._shard is None:
            return
        # numpy pads the header, so that the number of rows can be corrected in place.
        self._shard.seek(0)
        _write_header(self._shard, self._dtype, self._filled, self._dim)
        self._shard.flush()
        os.fsync(self._shard.fileno())
        self._shard.close()
        self._shard = None
        self._counts.append(self._filled)
        self._filled = 0

    def _cannot_write(self, error: OSError) -> TrainingError:
        return cannot_write(self._folder, "features", error)


class FeatureStore(Features):
    """A finished store: rows are mapped from the disk, so memory stays small.

    Attributes:
        about: what the writer was told of the features.
        name: where it lies, for messages.
    """

    def __init__(
        self, shards: list[np.ndarray], about: Mapping[str, Any], *, name: str = "features"
    ) -> None:
        self._shards, self.about, self.name = shards, dict(about), name
        self._ends = np.cumsum([len(shard) for shard in shards])
        self.num_rows, self.dim = int(self._ends[-1]), shards[0].shape[1]

    @classmethod
    def open(cls, folder: Location, *, cache: LocalCache | None = None) -> "FeatureStore":
        """Map the store in `folder`; files in a store are fetched to this machine first.

        Args:
            folder: that a writer has finished.
            cache: for what is fetched.

        Raises:
            TrainingError: unfinished, of another version, or files that do not fit the manifest.
        """
        folder, cache = location(folder), cache or LocalCache()
        try:
            document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if (document["format"], document["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise ValueError("another format or version")
            shards = []
            for number, rows in enumerate(document["rows"]):
                # Copy-on-write: torch wants arrays that could be written; nothing ever is.
                file = cache.fetched(folder / _shard_name(number))
                shard = np.load(file, mmap_mode="c", allow_pickle=False)
                if shard.shape != (rows, document["dim"]) or shard.dtype != document["dtype"]:
                    raise ValueError(f"{_shard_name(number)} has shape {shard.shape}")
                shards.append(shard)
        except (StorageError, MissingExtraError):
            raise  # the store does not answer
        except FileNotFoundError as error:
            missing = Path(str(error.filename or str(error).partition(": ")[0])).name
            raise TrainingError(
                f"{folder}: expected finished features ({MANIFEST} and its files); "
                f"{missing} is missing, extract them again"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{folder}: these features cannot be used ({error}); extract them again"
            ) from error
        return cls(shards, document.get("about", {}), name=str(folder))

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows; a mapped view where they lie in one fp32 file."""
        parts = []
        for shard, end in zip(self._shards, self._ends, strict=True):
            begin = int(end) - len(shard)
            if start < end and stop > begin:
                parts.append(shard[max(start - begin, 0) : stop - begin])
        tensors = [torch.from_numpy(np.asarray(part)).float() for part in parts]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def take(self, rows: np.ndarray) -> Tensor:
        """Gather rows, file by file."""
        found = np.empty((len(rows), self.dim), np.float32)
        bounds = np.searchsorted(rows, [0, *self._ends])
        for number, shard in enumerate(self._shards):
            part = slice(bounds[number], bounds[number + 1])
            found[part] = shard[rows[part] - (self._ends[number] - len(shard))]
        return torch.from_numpy(found)


def _shard_name(number: int) -> str:
    return f"features-{number:05d}.npy"


def _write_header(file: BinaryIO, dtype: np.dtype, rows: int, dim: int) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, header)
