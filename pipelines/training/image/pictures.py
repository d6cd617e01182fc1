"""Pictures to train on, in memory: decoded once, all of one square size, with labels if any.

Sources are Parquet files in the Hugging Face `Image` layout (`image` = {bytes, path} or bytes) and
folders of picture files. Rows are named by a half-open range, so that a validation part is cut
off by its numbers and never by chance.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from dvse.errors import DvseError, InputError, TrainingError
from dvse.image.geometry import SquareGeometry
from dvse.image.preparer import ImagePreparer
from dvse.items import Image
from dvse.remote.remote_path import Location
from dvse.storage.shard import opened
from pipelines.training.image.settings import PictureData

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Decoded pictures.

    Attributes:
        pixels: `uint8 [N, size, size, 3]`.
        labels: `int64 [N]`, positions in `label_names`, -1 for a name that is not among them;
            `None` where the source has none.
        label_names: sorted.
        num_unreadable: pictures that could not be decoded and were left out.
        sha256: hash of the bytes that were read, in order.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    num_unreadable: int
    sha256: str

    def __len__(self) -> int:
        return len(self.pixels)

    def labelled_as(self, label_names: tuple[str, ...]) -> "Pictures":
        """Return the same pictures with labels as positions in other names.

        >>> pixels = np.zeros((2, 4, 4, 3), np.uint8)
        >>> labels = np.array([0, 1])
        >>> names = {"label_names": ("cat", "ox"), "num_unreadable": 0, "sha256": ""}
        >>> some = Pictures(pixels=pixels, labels=labels, **names)
        >>> some.labelled_as(("bird", "cat", "dog")).labels.tolist()
        [1, -1]
        """
        if self.labels is None:
            return self
        known = {name: i for i, name in enumerate(label_names)}
        table = np.array([known.get(name, -1) for name in self.label_names], np.int64)
        return replace(self, labels=table[self.labels], label_names=label_names)


def parse_rows(text: str) -> slice:
    """Return the range that `START:STOP` names; either side may be left out.

    Raises:
        TrainingError: anything else.

    >>> parse_rows("0:45000")
    slice(0, 45000, None)
    """
    match = re.fullmatch(r"(\d*):(\d*)", text.strip())
    if match is None:
        raise TrainingError(f"expected rows as START:STOP, for example 0:45000, received {text!r}")
    start, stop = (int(group) if group else None for group in match.groups())
    if start is not None and stop is not None and start >= stop:
        raise TrainingError(f"expected START below STOP in rows {text!r}")
    return slice(start, stop)


def load_pictures(
    path: Location,
    *,
    size: int,
    rows: slice = slice(None),
    image_column: str = "image",
    label_column: str | None = None,
    num_threads: int = 2,
) -> Pictures:
    """Read the pictures of a Parquet file or a folder into `size` x `size` arrays.

    A folder's files are taken in sorted order; a picture's label is its parent folder's name when
    `label_column` is given (any value), as in ImageNet's layout.

    Raises:
        TrainingError: nothing there, a column is missing, or no picture could be read.
    """
    if not path.exists():
        raise TrainingError(f"{path}: no such file or folder of pictures")
    names: Sequence[Any] | None
    if path.is_dir():
        inside: Iterable[Location] = path.rglob("*")
        files = sorted((p for p in inside if p.suffix.lower() in _SUFFIXES), key=_by_parts)[rows]
        sources: Sequence[Any] = [p.read_bytes() for p in files]
        names = [p.parent.name for p in files] if label_column else None
    else:
        sources, names = _read_parquet(path, rows, image_column, label_column)
    if not sources:
        raise TrainingError(f"{path}: no pictures in rows {rows.start}:{rows.stop}")

    pixels = np.empty((len(sources), size, size, 3), np.uint8)
    kept = np.zeros(len(sources), bool)
    preparer = ImagePreparer(geometry=SquareGeometry(size=size, patch_size=1))
    digest = hashlib.sha256()
    for i, array in enumerate(_decode(sources, preparer, num_threads)):
        digest.update(sources[i])
        if array is not None:
            pixels[i], kept[i] = array, True
    if not kept.any():
        raise TrainingError(f"{path}: none of {len(sources)} pictures could be decoded")
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    if names is not None:
        label_names = tuple(sorted({str(name) for name in names}))
        index = {label: i for i, label in enumerate(label_names)}
        labels = np.array([index[str(name)] for name in names], np.int64)[kept]
    return Pictures(
        pixels=pixels if kept.all() else pixels[kept],
        labels=labels,
        label_names=label_names,
        num_unreadable=int((~kept).sum()),
        sha256=digest.hexdigest(),
    )


def _by_parts(path: Location) -> tuple[str, ...]:
    return tuple(str(path).split("/"))


def load_rows(data: PictureData, rows: str, *, num_threads: int) -> Pictures:
    """Read some rows of the pictures that settings name.

    Raises:
        TrainingError: as `load_pictures`, or rows that are no range.
    """
    return load_pictures(
        data.path,
        size=data.picture_size,
        rows=parse_rows(rows),
        image_column=data.image_column,
        label_column=data.label_column,
        num_threads=num_threads,
    )


def _read_parquet(
    path: Location, rows: slice, image_column: str, label_column: str | None
) -> tuple[list[bytes], list[Any] | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [image_column] + ([label_column] if label_column else [])
    try:
        table = pq.read_table(opened(path), columns=columns)
    except DvseError:
        raise  # of a store, which says what is the matter
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TrainingError(f"{path}: expected Parquet with columns {columns}; {error}") from error
    start, stop, _ = rows.indices(len(table))
    table = table.slice(start, max(0, stop - start))
    cells = table[image_column].to_pylist()
    sources = [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
    if not all(isinstance(source, bytes) for source in sources):
        raise TrainingError(
            f"{path}: expected column {image_column!r} to hold the bytes of picture files"
        )
    return sources, table[label_column].to_pylist() if label_column else None


def _decode(
    sources: Sequence[bytes], preparer: ImagePreparer, num_threads: int
) -> Iterator[np.ndarray | None]:
    def decode(source: bytes) -> np.ndarray | None:
        try:
            (chunk,) = preparer.prepare(Image(source))
        except InputError:
            return None
        assert isinstance(chunk.data, np.ndarray)
        return chunk.data

    with ThreadPoolExecutor(num_threads) as pool:
        yield from tqdm(
            pool.map(decode, sources, chunksize=64), total=len(sources), desc="decode", unit="img"
        )
