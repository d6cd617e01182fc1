"""litData's chunks of tokens, which litGPT reads with `TokensLoader(block_size=…)`.

    OUT/train/chunk-0-0.bin, index.json              ids
    OUT/train_loss_mask/chunk-0-0.bin, index.json    uint8 beside them, where a document has a mask

A chunk is `<I` documents, `<I` offsets, the ids. `TokensLoader` cuts a chunk into blocks and drops
what is left at its end, so chunks should be large (`--piece-mb`). Layout:
litdata/streaming/writer.py and item_loader.py of litData 0.2.76.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from dvse.errors import ConfigError, ShardError
from pipelines.export.documents import Documents
from pipelines.export.format import ExportFormat, PieceRecord, ReadSequence
from pipelines.export.output_file import FilePart, write_whole
from pipelines.export.plan import Piece, Plan

MASK_SUFFIX = "_loss_mask"

_DTYPES = {"uint8": 4, "uint16": 5, "uint32": 6}  # litData's numbers of numpy's dtypes
_MOST_BYTES = 2**32 - 1
_ONE_LEAF = '[1, {"type": null, "context": null, "children_spec": []}]'


class LitDataFormat(ExportFormat):
    """Chunks of tokens for litData."""

    name: ClassVar[str] = "litdata"
    longest: ClassVar[int] = _MOST_BYTES // 8

    def prepare(self, folder: Path, plan: Plan) -> None:
        """Check that no chunk passes 4 GiB, which is what its offsets can say."""
        super().prepare(folder, plan)
        if plan.settings.piece_bytes > _MOST_BYTES // 2:
            raise ConfigError(
                "--piece-mb: expected less than 2048, as a chunk of litData holds at most 4 GiB, "
                f"received {plan.settings.piece_bytes >> 20}"
            )

    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write a chunk of ids, and one of masks."""
        (ids_folder, dtype), *masks = _streams(plan, piece.split)
        lengths, ids, mask = _gathered(documents)
        chunk = f"chunk-0-{piece.number}.bin"
        parts = [_write_chunk(folder, f"{ids_folder}/{chunk}", lengths, ids.astype(dtype))]
        for mask_folder, dtype in masks:
            parts.append(_write_chunk(folder, f"{mask_folder}/{chunk}", lengths, mask.view(dtype)))
        return parts

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Write the `index.json` of ids and of masks."""
        parts = []
        for split in plan.splits:
            for number, (name, dtype) in enumerate(_streams(plan, split)):
                index = _index([r for r in records if r.split == split], number, dtype)
                parts.append(write_whole(folder, f"{name}/index.json", index))
        return parts

    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the documents of the chunks as `index.json` lists them."""
        ids = _read_chunks(folder / split)
        if (folder / f"{split}{MASK_SUFFIX}" / "index.json").exists():
            masks = _read_chunks(folder / f"{split}{MASK_SUFFIX}")
            for some, mask in zip(ids, masks, strict=True):
                yield ReadSequence(ids=some, mask=mask.astype(bool))
        else:
            yield from (ReadSequence(ids=some) for some in ids)


def _streams(plan: Plan, split: str) -> list[tuple[str, np.dtype]]:
    """Folder and dtype of the ids of a split, and of their masks if there are any."""
    masks = [(f"{split}{MASK_SUFFIX}", np.dtype("u1"))] if plan.has_loss_mask else []
    return [(split, plan.id_dtype), *masks]


def _gathered(documents: Iterable[Documents]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths, ids and loss mask of a whole piece."""
    parts = list(documents)
    return (
        np.concatenate([p.lengths for p in parts]),
        np.concatenate([p.ids for p in parts]),
        np.concatenate([p.loss_mask() for p in parts]),
    )


def _write_chunk(folder: Path, name: str, lengths: np.ndarray, values: np.ndarray) -> FilePart:
    first = 4 * (len(lengths) + 2)
    offsets = first + values.itemsize * np.concatenate([[0], np.cumsum(lengths)])
    head = np.concatenate([[len(lengths)], offsets]).astype("<u4").tobytes()
    return write_whole(folder, name, head, np.ascontiguousarray(values).data)


def _index(records: Sequence[PieceRecord], stream: int, dtype: np.dtype) -> bytes:
    chunks = [
        {
            "chunk_bytes": record.parts[stream].num_bytes,
            "chunk_size": record.num_sequences,
            "dim": record.num_ids,
            "filename": Path(record.parts[stream].name).name,
        }
        for record in records
    ]
    config = {
        "chunk_bytes": max((record.parts[stream].num_bytes for record in records), default=0),
        "chunk_size": None,
        "compression": None,
        "data_format": [f"no_header_numpy:{_DTYPES[dtype.name]}"],
        "data_spec": _ONE_LEAF,
        "encryption": None,
        "item_loader": "TokensLoader",
    }
    # litData writes the time here; the same tokens have to make the same bytes.
    index = {"chunks": chunks, "config": config, "updated_at": "0"}
    return json.dumps(index, sort_keys=True).encode()


def _read_chunks(folder: Path) -> Iterator[np.ndarray]:
    index = json.loads((folder / "index.json").read_bytes())
    number = int(index["config"]["data_format"][0].partition(":")[2])
    dtype = {number: name for name, number in _DTYPES.items()}[number]
    for chunk in index["chunks"]:
        data = np.fromfile(folder / chunk["filename"], dtype="u1")
        num_documents = int(data[:4].view("<u4")[0])
        offsets = data[4 : 4 * (num_documents + 2)].view("<u4").astype(np.int64)
        if num_documents != chunk["chunk_size"] or offsets[-1] != len(data):
            raise ShardError(
                f"{folder / chunk['filename']}: expected {chunk['chunk_size']} documents in "
                f"{chunk['chunk_bytes']:,} bytes, found {num_documents} in {len(data):,}"
            )
        for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            yield data[start:stop].view(dtype)
