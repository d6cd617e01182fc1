"""Ids of a shard as a flat file that can be mapped into memory, kept beside the shards.

Decoding Parquet costs more than everything else in reading; a flat copy (2 or 4 bytes an id) is
made the first time and shared by every later epoch, rank and worker. Its name holds size and time
of the shard, so a copy of another shard is never taken for it. Whoever needs a copy while another
process makes it waits for that one. Where the directory cannot be written, the shard is decoded
each time. Copies of shards in a store lie in a cache of this machine, which has a bound.
"""

import contextlib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.atomic_file import write_atomically
from dvse.storage.local_cache import LocalCache
from dvse.storage.shard import read_shard

FOLDER = ".flat"


@dataclass(frozen=True, kw_only=True)
class FlatShard:
    """All rows of a shard end to end.

    Attributes:
        ids: uint16 or uint32 `[N]`.
        mask: loss mask `bool [N]`, `None` where no row has one.
    """

    ids: np.ndarray
    mask: np.ndarray | None


def flat_shard(
    path: Location, *, use_cache: bool = True, cache: LocalCache | None = None
) -> FlatShard:
    """Return the ids and loss masks of a shard, from the flat copy where there is one.

    Args:
        path: of the shard.
        use_cache: keep a copy.
        cache: for copies of shards that lie in a store.

    Raises:
        ShardError: the shard cannot be read.
    """
    if not use_cache:
        return _decode(path)
    if isinstance(path, RemotePath):
        return _fetched(path, cache or LocalCache())
    info = path.stat()
    stem = f"{path.stem}-{info.st_size}-{info.st_mtime_ns}"
    ids_file, mask_file = (path.parent / FOLDER / f"{stem}.{kind}.npy" for kind in ("ids", "mask"))
    if (copy := _mapped(ids_file, mask_file)) is not None:
        return copy
    with _one_at_a_time(path):
        if (copy := _mapped(ids_file, mask_file)) is not None:
            return copy
        flat = _decode(path)
        with contextlib.suppress(OSError):  # no room or no right to write: decode next time, too
            ids_file.parent.mkdir(exist_ok=True)
            if flat.mask is not None:
                write_atomically(mask_file, _npy(flat.mask))
            write_atomically(ids_file, _npy(flat.ids))  # last: its presence says both are there
        return flat


def _fetched(path: RemotePath, cache: LocalCache) -> FlatShard:
    """The copy in the cache of this machine, made now where it is not there (any longer)."""
    found = path.info()
    key = f"{found.address}\0{found.size}\0{found.version}".encode()
    stem = hashlib.sha256(key).hexdigest()[:32]
    if (copy := _kept(stem, cache)) is not None:
        return copy
    with cache.one_at_a_time(stem):
        if (copy := _kept(stem, cache)) is not None:
            return copy
        flat = _decode(path)
        if flat.mask is None:
            cache.keep({f"{stem}.ids.npy": _npy(flat.ids)})
        else:
            cache.keep(
                {f"{stem}.mask.npy": _npy(flat.mask), f"{stem}.masked-ids.npy": _npy(flat.ids)}
            )
        return flat


def _kept(stem: str, cache: LocalCache) -> FlatShard | None:
    # The name of the ids says whether a mask belongs to them, for that may have been dropped alone.
    try:
        if (ids := cache.find(f"{stem}.ids.npy")) is not None:
            return FlatShard(ids=np.load(ids, mmap_mode="r"), mask=None)
        ids, mask = cache.find(f"{stem}.masked-ids.npy"), cache.find(f"{stem}.mask.npy")
        if ids is None or mask is None:
            return None
        return FlatShard(ids=np.load(ids, mmap_mode="r"), mask=np.load(mask, mmap_mode="r"))
    except (OSError, ValueError):
        return None


def _mapped(ids_file: Path, mask_file: Path) -> FlatShard | None:
    try:
        ids = np.load(ids_file, mmap_mode="r")
        return FlatShard(
            ids=ids, mask=np.load(mask_file, mmap_mode="r") if mask_file.exists() else None
        )
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Lock a shard among processes, where the system and its file system can do that."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(stack.enter_context(path.open("rb")), fcntl.LOCK_EX)
        yield


def _decode(path: Location) -> FlatShard:
    table = read_shard(path, columns=["ids", "loss_mask"])
    column = _one_array(table["ids"])
    # Values of a list array may begin before its first row; offsets say where.
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy()[offsets[0] : offsets[-1]]
    return FlatShard(ids=values, mask=_mask(_one_array(table["loss_mask"]), np.diff(offsets)))


def _mask(column: Any, lengths: np.ndarray) -> np.ndarray | None:
    """The loss mask of every id; rows without one count everywhere."""
    if column.null_count == len(column):
        return None
    has = ~column.is_null().to_numpy(zero_copy_only=False)
    mask = np.ones(int(lengths.sum()), dtype=bool)
    mask[np.repeat(has, lengths)] = column.flatten().to_numpy(zero_copy_only=False)
    return mask


def _one_array(column: Any) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
