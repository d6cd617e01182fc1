"""WebDataset: tars of one sample a document, readable by any tool.

    OUT/train/000000.tar
        train-000000000.ids.npy      uint16 or uint32
        train-000000000.mask.npy     bool, where the document has a loss mask
        train-000000000.json         name, modality, grid, duration, source, hash
        train-000000000.txt          the text beside the media, where there is one

A sample's key is its number, as names may hold dots, which WebDataset cuts at. No member is a
pickle. Owner, time and mode are fixed, so equal documents make equal bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dvse.errors import ShardError
from pipelines.export.documents import Documents
from pipelines.export.format import ExportFormat, PieceRecord, ReadSequence
from pipelines.export.output_file import FilePart, OutputFile
from pipelines.export.plan import Piece, Plan

_FIELDS = ("grid_h", "grid_w", "num_levels", "duration_s", "frame_rate_hz", "durations")
_BLOCK = tarfile.BLOCKSIZE


class WebDatasetFormat(ExportFormat):
    """Tars for WebDataset."""

    name: ClassVar[str] = "webdataset"
    columns: ClassVar[tuple[str, ...]] = (*_FIELDS, "text")

    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write one tar."""
        with OutputFile(folder, tar_name(piece)) as file:
            _write_tar(file, piece.split, documents)
        return [file.part]

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Nothing is left to do: a tar needs no index."""
        return []

    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the samples of the tars in order."""
        for path in sorted((folder / split).glob("*.tar")):
            try:
                yield from _read_tar(path)
            except (tarfile.TarError, KeyError, ValueError) as error:
                raise ShardError(f"{path}: expected a tar of samples; {error}") from None


def tar_name(piece: Piece) -> str:
    """Return the path of a piece's tar below the export."""
    return f"{piece.split}/{piece.number:06d}.tar"


def _write_tar(file: OutputFile, split: str, documents: Iterable[Documents]) -> None:
    for some in documents:
        rows = some.rows.to_pylist()
        for (number, ids, mask), row in zip(some.each(), rows, strict=True):
            key = f"{split}-{number:09d}"
            _add(file, f"{key}.ids.npy", _npy(ids))
            if mask is not None:
                _add(file, f"{key}.mask.npy", _npy(mask))
            about = {k: v for k, v in row.items() if k != "text" and v is not None}
            _add(file, f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
            if row["text"] is not None:
                _add(file, f"{key}.txt", row["text"].encode())
    end = file.num_bytes + 2 * _BLOCK
    file.write(bytes(2 * _BLOCK + -end % tarfile.RECORDSIZE))


def _add(file: OutputFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o444
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % _BLOCK))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _read_tar(path: Path) -> Iterator[ReadSequence]:
    with tarfile.open(path) as tar:
        for _, members in groupby(tar, key=lambda m: m.name.partition(".")[0]):
            sample: dict[str, Any] = {}
            for member in members:
                extracted = tar.extractfile(member)
                assert extracted is not None
                sample[member.name.partition(".")[2]] = extracted.read()
            mask = sample.get("mask.npy")
            yield ReadSequence(
                ids=np.load(io.BytesIO(sample["ids.npy"]), allow_pickle=False),
                mask=None if mask is None else np.load(io.BytesIO(mask), allow_pickle=False),
                modality=json.loads(sample["json"])["modality"],
            )
