"""datatrove's token files, which nanotron reads: ids end to end, document ends beside them.

    OUT/train/000000.ds            uint16 or uint32
    OUT/train/000000.ds.index      uint64, where each document ends, in ids
    OUT/train/000000.ds.loss       a byte an id, where a document of the export has a loss mask
    OUT/train/000000.ds.metadata   bundle and width of an id; number of ids, twice

Layout: datatrove/pipeline/tokens/tokenizer.py of datatrove 0.10.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np

from dvse.errors import ShardError
from pipelines.export.documents import Documents
from pipelines.export.format import ExportFormat, PieceRecord, ReadSequence
from pipelines.export.output_file import FilePart, OutputFile, write_whole
from pipelines.export.plan import Piece, Plan

_THOUSANDS = ("", "k", "M", "G", "T", "P")


class NanotronFormat(ExportFormat):
    """`.ds` files for nanotron and datatrove."""

    name: ClassVar[str] = "nanotron"

    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write one `.ds` and what stands beside it."""
        name = f"{piece.split}/{piece.number:06d}.ds"
        files = [OutputFile(folder, name), OutputFile(folder, f"{name}.index")]
        if plan.has_loss_mask:
            files.append(OutputFile(folder, f"{name}.loss"))
        ids_file, index_file, *loss_files = files
        end = 0
        with ExitStack() as stack:
            for file in files:
                stack.enter_context(file)
            for some in documents:
                ids_file.write(np.ascontiguousarray(some.ids).data)
                index_file.write((end + np.cumsum(some.lengths)).astype("<u8").tobytes())
                end += int(some.lengths.sum())
                for loss_file in loss_files:
                    loss_file.write(some.loss_mask().tobytes())
        about = (
            f"{plan.shards.metadata.bundle}|{plan.id_dtype.itemsize}\n{end}\n{_rounded(end)}"
        ).encode()
        metadata = write_whole(folder, f"{name}.metadata", about)
        return [*(file.part for file in files), metadata]

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Nothing is left to do: each file has its index beside it."""
        return []

    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the documents between the ends that the indices state."""
        for path in sorted((folder / split).glob("*.ds")):
            head = path.with_name(f"{path.name}.metadata").read_text(encoding="utf-8")
            width = int(head.partition("\n")[0].rpartition("|")[2])
            ids = np.fromfile(path, dtype=f"<u{width}")
            ends = np.fromfile(path.with_name(f"{path.name}.index"), dtype="<u8").astype(np.int64)
            if (ends[-1] if len(ends) else 0) != len(ids):
                raise ShardError(f"{path}: its index ends at {ends[-1]:,}, it has {len(ids):,} ids")
            loss = path.with_name(f"{path.name}.loss")
            mask = np.fromfile(loss, dtype=bool) if loss.exists() else None
            start = 0
            for end in ends.tolist():
                yield ReadSequence(
                    ids=ids[start:end], mask=None if mask is None else mask[start:end]
                )
                start = end


def _rounded(count: int) -> str:
    """A number of ids for people.

    >>> _rounded(1_234_567), _rounded(12)
    ('1.23 MT', '12 T')
    """
    value, step = float(count), 0
    while value >= 1000 and step < len(_THOUSANDS) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.3g} {_THOUSANDS[step]}T"
