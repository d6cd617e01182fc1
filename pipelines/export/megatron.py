"""Megatron-LM's indexed data set: one `.bin` of ids and one `.idx` a split.

    OUT/train.bin, train.idx                     ids
    OUT/train_loss_mask.bin, …_loss_mask.idx     uint8 beside them, where a document has a mask

A document is one sequence. Its mode (int8, read with `multimodal=True`) says its modality. The
`.idx` is written last: without it no loader opens the `.bin`. fairseq's files have the same magic
and another layout.

Layout: megatron/core/datasets/indexed_dataset.py of megatron-core 0.16.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np

from dvse.errors import ConfigError, ShardError
from dvse.storage.atomic_file import sync_directory
from pipelines.export.documents import Documents, read_rows
from pipelines.export.format import ExportFormat, PieceRecord, ReadSequence
from pipelines.export.output_file import FilePart, FileRange, OutputFile
from pipelines.export.plan import Piece, Plan

MODES = ("text", "image", "audio", "mixed")
"""Modality of each sequence mode."""

MASK_SUFFIX = "_loss_mask"

_HEADER = struct.Struct("<9sQBQQ")
_MAGIC = b"MMIDIDX\x00\x00"
_CODES = {"<u2": 8, "<i4": 4, "|u1": 1}
_MOST_UINT16 = 65_500  # Megatron's own limit, a little below what the dtype holds
_MOST_INT32 = 2**31 - 1


class MegatronFormat(ExportFormat):
    """`.bin` and `.idx` for Megatron-LM, NeMo and GPT-NeoX."""

    name: ClassVar[str] = "megatron"
    longest: ClassVar[int] = _MOST_INT32

    def id_dtype(self, vocabulary_size: int) -> np.dtype:
        """Return uint16 for vocabularies below 65,500, else int32: Megatron has no uint32."""
        if vocabulary_size > _MOST_INT32:
            raise ConfigError(
                f"expected a vocabulary that fits into int32, Megatron's largest dtype of ids, "
                f"received one of {vocabulary_size:,} ids"
            )
        return np.dtype("<u2" if vocabulary_size < _MOST_UINT16 else "<i4")

    def prepare(self, folder: Path, plan: Plan) -> None:
        """Give each `.bin` its size, so that pieces can be written to their places in any order."""
        super().prepare(folder, plan)
        for split in plan.splits:
            num_ids = sum(piece.num_ids for piece in plan.of_split(split))
            for stem, dtype in _streams(plan, split):
                path = folder / f"{stem}.bin"
                with path.open("ab") as file:
                    file.truncate(num_ids * dtype.itemsize)
        sync_directory(folder)

    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write the ids of a piece, and its masks, to their places."""
        streams = [
            FileRange(folder, f"{stem}.bin", piece.first_id * dtype.itemsize)
            for stem, dtype in _streams(plan, piece.split)
        ]
        ids_file, *mask_files = streams
        with ExitStack() as stack:
            for stream in streams:
                stack.enter_context(stream)
            for some in documents:
                ids_file.write(np.ascontiguousarray(some.ids).data)
                for mask_file in mask_files:
                    mask_file.write(some.loss_mask().view(np.uint8).data)
        return [stream.part for stream in streams]

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Write the `.idx` files."""
        parts = []
        for split in plan.splits:
            for stem, dtype in _streams(plan, split):
                with OutputFile(folder, f"{stem}.idx") as file:
                    _write_index(file, plan, split, dtype)
                parts.append(file.part)
        return parts

    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the sequences of `SPLIT.bin` as `SPLIT.idx` has them."""
        ids = _IndexedFile(folder, split)
        mask_stem = f"{split}{MASK_SUFFIX}"
        masks = _IndexedFile(folder, mask_stem) if (folder / f"{mask_stem}.idx").exists() else None
        for number in range(ids.num_sequences):
            yield ReadSequence(
                ids=ids[number],
                mask=None if masks is None else masks[number].astype(bool),
                modality=MODES[ids.modes[number]],
            )


def _streams(plan: Plan, split: str) -> list[tuple[str, np.dtype]]:
    """Name and dtype of the ids of a split, and of their masks if there are any."""
    masks = [(f"{split}{MASK_SUFFIX}", np.dtype("u1"))] if plan.has_loss_mask else []
    return [(split, plan.id_dtype), *masks]


def _write_index(file: OutputFile, plan: Plan, split: str, dtype: np.dtype) -> None:
    """Header, int32 lengths, int64 byte offsets, int64 documents, int8 modes."""
    num_sequences = sum(piece.num_sequences for piece in plan.of_split(split))
    file.write(_HEADER.pack(_MAGIC, 1, _CODES[dtype.str], num_sequences, num_sequences + 1))
    for lengths in plan.sequence_lengths(split):
        file.write(lengths.astype("<i4").tobytes())
    first = 0
    for lengths in plan.sequence_lengths(split):
        offsets = (np.cumsum(lengths) - lengths + first) * dtype.itemsize
        first += int(lengths.sum())
        file.write(offsets.astype("<i8").tobytes())
    file.write(np.arange(num_sequences + 1, dtype="<i8").tobytes())
    numbers = {name: number for number, name in enumerate(MODES)}
    for piece in plan.of_split(split):
        for rows in read_rows(plan, piece, ["modality"]):
            modes = [numbers[name] for name in rows.column("modality").to_pylist()]
            file.write(np.array(modes, dtype="i1").tobytes())


class _IndexedFile:
    """A `.bin` and its `.idx`, mapped into memory."""

    def __init__(self, folder: Path, stem: str) -> None:
        path = folder / f"{stem}.idx"
        data = path.read_bytes()
        if len(data) < _HEADER.size:
            raise ShardError(f"{path}: expected an index of Megatron, received {len(data)} bytes")
        magic, version, code, num_sequences, num_documents = _HEADER.unpack_from(data)
        dtypes = {code: dtype for dtype, code in _CODES.items()}
        if (magic, version) != (_MAGIC, 1) or code not in dtypes:
            raise ShardError(f"{path}: expected an index of Megatron, version 1, of known dtype")
        expected = _HEADER.size + 13 * num_sequences + 8 * num_documents
        if len(data) != expected:
            raise ShardError(f"{path}: expected {expected:,} bytes, found {len(data):,}")
        self.num_sequences = num_sequences
        at = _HEADER.size
        self._lengths = np.frombuffer(data, "<i4", num_sequences, at)
        self._offsets = np.frombuffer(data, "<i8", num_sequences, at + 4 * num_sequences)
        self.modes = np.frombuffer(data, "i1", num_sequences, len(data) - num_sequences)
        self._dtype = np.dtype(dtypes[code])
        size = (folder / f"{stem}.bin").stat().st_size
        self._bin = np.memmap(folder / f"{stem}.bin", "u1", "r") if size else np.zeros(0, "u1")

    def __getitem__(self, number: int) -> np.ndarray:
        """Return a sequence."""
        start, length = int(self._offsets[number]), int(self._lengths[number])
        return np.frombuffer(self._bin, self._dtype, length, start)
