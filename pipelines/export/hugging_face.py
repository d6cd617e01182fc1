"""Hugging Face `datasets`: what `save_to_disk` leaves and `load_from_disk` opens.

    OUT/dataset_dict.json
    OUT/train/data-00000-of-00003.arrow, dataset_info.json, state.json
    OUT/README.md                                the card: bundle, fingerprint, counts

All columns of the token shards are kept, under their names.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from dvse.errors import ShardError
from dvse.storage.shard import shard_schema
from pipelines.export.card import card
from pipelines.export.documents import Documents
from pipelines.export.format import ExportFormat, PieceRecord, ReadSequence
from pipelines.export.output_file import FilePart, OutputFile, write_whole
from pipelines.export.plan import Piece, Plan


class HuggingFaceFormat(ExportFormat):
    """A `DatasetDict` on disk."""

    name: ClassVar[str] = "datasets"
    columns: ClassVar[tuple[str, ...]] = tuple(
        name for name in shard_schema("uint32").names if name not in ("ids", "loss_mask")
    )

    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write one Arrow file."""
        total = len(plan.of_split(piece.split))
        name = f"{piece.split}/data-{piece.number:05d}-of-{total:05d}.arrow"
        schema = shard_schema(plan.id_dtype)

        with (
            OutputFile(folder, name) as file,
            pa.ipc.new_stream(_Sink(file), schema) as stream,
        ):
            for some in documents:
                stream.write_batch(_batch(some, schema))
        return [file.part]

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Write what `datasets` wants to know of each split, and the card."""
        from datasets import Features

        features = Features.from_arrow_schema(shard_schema(plan.id_dtype))
        about = {"description": "", "citation": "", "license": "", "homepage": ""}
        files: dict[str, Any] = {"dataset_dict.json": {"splits": list(plan.splits)}}
        for split in plan.splits:
            mine = [record for record in records if record.split == split]
            files[f"{split}/dataset_info.json"] = about | {"features": features.to_dict()}
            files[f"{split}/state.json"] = {
                "_data_files": [{"filename": Path(r.parts[0].name).name} for r in mine],
                "_fingerprint": _fingerprint(mine),
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": split,
            }
        texts = {name: json.dumps(value, sort_keys=True) for name, value in files.items()}
        texts["README.md"] = card(plan, records)
        return [write_whole(folder, name, text.encode()) for name, text in texts.items()]

    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the rows of the Arrow files in order."""
        state = json.loads((folder / split / "state.json").read_bytes())
        for entry in state["_data_files"]:
            path = folder / split / entry["filename"]
            try:
                with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                    for batch in stream:
                        yield from _read_batch(batch)
            except pa.ArrowException as error:
                raise ShardError(f"{path}: expected an Arrow stream; {error}") from None


class _Sink(io.RawIOBase):
    """What Arrow writes into: it closes its sink, and the file is not its to close."""

    def __init__(self, file: OutputFile) -> None:
        self._output = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._output.write(bytes(data))


def _batch(some: Documents, schema: pa.Schema) -> pa.RecordBatch:
    offsets = np.concatenate([[0], np.cumsum(some.lengths)]).astype(np.int32)
    columns = {name: some.rows.column(name) for name in HuggingFaceFormat.columns}
    columns["ids"] = _lists(offsets, some.ids, schema.field("ids").type)
    columns["loss_mask"] = (
        pa.nulls(len(some.lengths), schema.field("loss_mask").type)
        if some.mask is None
        else _lists(offsets, some.mask, schema.field("loss_mask").type, ~some.has_mask)
    )
    arrays = [columns[field.name].cast(field.type) for field in schema]
    return pa.record_batch(arrays, schema=schema)


def _lists(
    offsets: np.ndarray, values: np.ndarray, kind: pa.DataType, missing: np.ndarray | None = None
) -> pa.ListArray:
    flat = pa.array(values, type=kind.value_type)
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind, mask=mask)


def _read_batch(batch: pa.RecordBatch) -> Iterator[ReadSequence]:
    masks = batch.column("loss_mask")
    for number, modality in enumerate(batch.column("modality").to_pylist()):
        mask = masks[number]
        yield ReadSequence(
            ids=batch.column("ids")[number].values.to_numpy(),
            mask=mask.values.to_numpy(zero_copy_only=False) if mask.is_valid else None,
            modality=modality,
        )


def _fingerprint(records: Sequence[PieceRecord]) -> str:
    """What `datasets` caches results under: the same for the same bytes."""
    hashes = "".join(record.parts[0].sha256 for record in records)
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]
