"""What a format of an export has to say: the contract of the modules beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines.export.documents import Documents
from pipelines.export.output_file import FilePart
from pipelines.export.plan import Piece, Plan


@dataclass(frozen=True, kw_only=True)
class PieceRecord:
    """What is known of a finished piece.

    Attributes:
        split, number, num_sequences, num_ids: of the piece.
        parts: the bytes that it wrote, its provenance among them.
    """

    split: str
    number: int
    num_sequences: int
    num_ids: int
    parts: tuple[FilePart, ...]


@dataclass(frozen=True, kw_only=True)
class ReadSequence:
    """A document as it was read back out of an export.

    Attributes:
        ids: `[n]`.
        mask: `bool [n]`, `None` where the format says nothing.
        modality: `None` where the format does not carry it.
    """

    ids: np.ndarray
    mask: np.ndarray | None = None
    modality: str | None = None


class ExportFormat(ABC):
    """A format. Writes pieces in any order, from any process; the bytes follow from the plan."""

    name: ClassVar[str]
    longest: ClassVar[int] = 2**63 - 1
    """Ids of a document that the format can hold at most."""
    columns: ClassVar[tuple[str, ...]] = ()
    """Columns of the shards that `write` needs besides ids, masks and provenance."""

    def id_dtype(self, vocabulary_size: int) -> np.dtype:
        """Return the dtype of ids: little endian.

        Raises:
            ConfigError: the format has none that holds the vocabulary.
        """
        return np.dtype("<u2" if vocabulary_size <= 1 << 16 else "<u4")

    def prepare(self, folder: Path, plan: Plan) -> None:
        """Check that the plan fits the format; make what pieces share, if it is not there yet.

        Raises:
            ConfigError: a document is longer than the format can hold.
        """
        plan.check_longest(self.longest, self.name)

    @abstractmethod
    def write(
        self, folder: Path, plan: Plan, piece: Piece, documents: Iterable[Documents]
    ) -> list[FilePart]:
        """Write one piece so that it is durable."""

    @abstractmethod
    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Write the indices, once all pieces (in order) are there."""

    @abstractmethod
    def read(self, folder: Path, split: str) -> Iterator[ReadSequence]:
        """Yield the documents of a split out of the files alone.

        Raises:
            ShardError: the files are not what the format says.
        """

    def afterwards(self, folder: Path, plan: Plan) -> str | None:
        """Return the command that is left to the user, `None` where there is none."""
        return None
