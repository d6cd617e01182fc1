"""MosaicML's MDS: shards of samples with named columns, and `index.json`.

    OUT/train/shard.000000.mds, index.json      StreamingDataset(local="OUT", split="train")

Columns: `id`, `modality`, `text` (empty where there is none), `ids` (`ndarray:uint16` or
`uint32`) and, where a document of the export has a loss mask, `loss_mask` (`ndarray:uint8`).

A shard is `<I` samples, `<I` offsets, the columns as JSON, the samples; a sample is `<I` sizes of
its variable columns, then the columns in the order of their names. An array is a byte (dimensions
and width of the shape), the shape, the values. Layout: streaming/base/format/mds of
mosaicml-streaming 0.13.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dvse.errors import ConfigError, ShardError
from pipelines.export.documents import Documents
from pipelines.export.format import ExportFormat, PieceRecord, ReadSequence
from pipelines.export.output_file import FilePart, write_whole
from pipelines.export.plan import Piece, Plan

_SIZE_LIMIT = 1 << 26
_MOST_BYTES = 2**32 - 1
_SHAPES = ("<u1", "<u2", "<u4", "<u8")


class MdsFormat(ExportFormat):
    """Shards for MosaicML streaming."""

    name: ClassVar[str] = "mds"
    longest: ClassVar[int] = _MOST_BYTES // 16
    columns: ClassVar[tuple[str, ...]] = ("text",)

    def prepare(self, folder: Path, plan: Plan) -> None:
        """Check that no shard passes 4 GiB, which is what its offsets can say."""
        super().prepare(folder, plan)
        if plan.settings.piece_bytes > _MOST_BYTES // 2:
            raise ConfigError(
                "--piece-mb: expected less than 2048, as a shard of MDS holds at most 4 GiB with "
                f"texts and masks, received {plan.settings.piece_bytes >> 20}"
            )

    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write one shard."""
        columns = _columns(plan)
        samples = [
            _sample(columns, row, ids, mask)
            for some in documents
            for (_, ids, mask), row in zip(some.each(), some.rows.to_pylist(), strict=True)
        ]
        config = _json(_config(columns))
        sizes = np.array([len(sample) for sample in samples], dtype=np.int64)
        first = 4 + 4 * (len(samples) + 1) + len(config)
        offsets = first + np.concatenate([[0], np.cumsum(sizes)])
        if offsets[-1] > _MOST_BYTES:
            raise ConfigError(
                f"a shard of MDS holds at most 4 GiB, piece {piece.number} of {piece.split} has "
                f"{int(offsets[-1]):,} bytes; use a smaller --piece-mb"
            )
        head = struct.pack("<I", len(samples)) + offsets.astype("<u4").tobytes() + config
        return [write_whole(folder, _shard(piece), head, *samples)]

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Write the `index.json` of each split."""
        columns = _columns(plan)
        parts = []
        for split in plan.splits:
            shards = [
                _config(columns)
                | {
                    "raw_data": {
                        "basename": Path(record.parts[0].name).name,
                        "bytes": record.parts[0].num_bytes,
                        "hashes": {},
                    },
                    "samples": record.num_sequences,
                    "version": 2,
                    "zip_data": None,
                }
                for record in records
                if record.split == split
            ]
            index = _json({"shards": shards, "version": 2})
            parts.append(write_whole(folder, f"{split}/index.json", index))
        return parts

    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the samples as `index.json` lists them."""
        index = json.loads((folder / split / "index.json").read_bytes())
        for shard in index["shards"]:
            path = folder / split / shard["raw_data"]["basename"]
            data = path.read_bytes()
            (num_samples,) = struct.unpack_from("<I", data)
            offsets = np.frombuffer(data, "<u4", num_samples + 1, 4)
            if num_samples != shard["samples"] or offsets[-1] != len(data):
                raise ShardError(f"{path}: expected a shard of {shard['samples']} samples")
            for start in offsets[:-1].tolist():
                yield _read_sample(shard["column_names"], shard["column_encodings"], data, start)


def _shard(piece: Piece) -> str:
    return f"{piece.split}/shard.{piece.number:06d}.mds"


def _columns(plan: Plan) -> dict[str, str]:
    """Name → encoding, in the order in which a sample holds them."""
    columns = {"id": "str", "ids": f"ndarray:{plan.id_dtype.name}"}
    if plan.has_loss_mask:
        columns["loss_mask"] = "ndarray:uint8"
    return columns | {"modality": "str", "text": "str"}


def _config(columns: dict[str, str]) -> dict[str, Any]:
    return {
        "column_encodings": list(columns.values()),
        "column_names": list(columns),
        "column_sizes": [None] * len(columns),
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": _SIZE_LIMIT,
    }


def _sample(
    columns: dict[str, str], row: dict[str, Any], ids: np.ndarray, mask: np.ndarray | None
) -> bytes:
    mask = np.ones(len(ids), bool) if mask is None else mask
    values = {
        "id": row["id"].encode(),
        "ids": _array(ids),
        "loss_mask": _array(mask.view(np.uint8)),
        "modality": row["modality"].encode(),
        "text": (row["text"] or "").encode(),
    }
    found = [values[name] for name in columns]
    return b"".join([struct.pack(f"<{len(found)}I", *map(len, found)), *found])


def _array(array: np.ndarray) -> bytes:
    """One dimension of the least width that holds it, then the values."""
    width = next(n for n, dtype in enumerate(_SHAPES) if len(array) <= np.iinfo(dtype).max)
    return (
        bytes([1 << 2 | width])
        + np.array([len(array)], _SHAPES[width]).tobytes()
        + (np.ascontiguousarray(array).tobytes())
    )


def _read_sample(
    names: Sequence[str], encodings: Sequence[str], data: bytes, start: int
) -> ReadSequence:
    sizes = struct.unpack_from(f"<{len(names)}I", data, start)
    at = start + 4 * len(names)
    found: dict[str, Any] = {}
    for name, encoding, size in zip(names, encodings, sizes, strict=True):
        value = data[at : at + size]
        at += size
        if encoding.startswith("ndarray:"):
            width = np.dtype(_SHAPES[value[0] & 3]).itemsize
            found[name] = np.frombuffer(value, encoding.partition(":")[2], offset=1 + width)
        else:
            found[name] = value.decode()
    mask = found.get("loss_mask")
    return ReadSequence(
        ids=found["ids"],
        mask=None if mask is None else mask.astype(bool),
        modality=found["modality"],
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
