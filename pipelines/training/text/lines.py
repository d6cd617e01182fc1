"""Lines of text, streamed: from `.txt`, `.md`, `.gz`, Parquet, and whatever `datasets` reads.

Tables need a `text` column. A data set is named as for `dvse tokenize`:
`hf:NAME?split=train&streaming=true`. Nothing is ever held in memory as a whole.
"""

import gzip
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dvse.errors import ConfigError, MissingFileError, TrainingError

_SUFFIXES = (".txt", ".md", ".gz", ".parquet")
_HUB = "hf:"


class TextSource(ABC):
    """Lines that can be read again and again."""

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """What it is called, from the widest folder to the name."""

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """Yield the lines without their ends.

        Raises:
            TrainingError: it cannot be read, or has no text.
        """

    @abstractmethod
    def sha256(self) -> str:
        """Return a hash of the content in hex."""


@dataclass(frozen=True)
class FileText(TextSource):
    """A file."""

    path: Path

    @property
    def parts(self) -> tuple[str, ...]:
        """The path's."""
        return self.path.parts

    def lines(self) -> Iterator[str]:
        """Read the file."""
        return read_lines(self.path)

    def sha256(self) -> str:
        """Hash the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class DatasetText(TextSource):
    """The `text` column of a data set."""

    address: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The data set's name: where it lies on this machine is nobody's business."""
        return Path(self.address.removeprefix(_HUB).partition("?")[0]).parts

    def lines(self) -> Iterator[str]:
        """Read the rows, downloading them as they come where the address says streaming."""
        from pipelines.sources.hub import load_dataset

        try:
            data = load_dataset(self.address)
            names = data.column_names or list(data._resolve_features().features)
            if "text" in names:
                for row in data.select_columns(["text"]):
                    yield from (row["text"] or "").splitlines()
        except ConfigError:
            raise
        except Exception as error:  # `datasets` and the Hub raise many kinds
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"{self.address}: cannot be read; {reason}") from error
        if "text" not in names:
            raise TrainingError(f"{self.address}: expected a column 'text', received {names}")

    def sha256(self) -> str:
        """Hash the lines."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()


def text_sources(addresses: Sequence[str | Path]) -> list[TextSource]:
    """Return files (folders searched through) and data sets, in a fixed order.

    Raises:
        MissingFileError, TrainingError: see `text_files`.
    """
    found: list[TextSource] = []
    for address in addresses:
        if isinstance(address, str) and address.startswith(_HUB):
            found.append(DatasetText(address))
        else:
            found += [FileText(path) for path in text_files([Path(address)])]
    if not found:
        text_files([])
    return found


def text_files(paths: Sequence[Path]) -> list[Path]:
    """Return the text files among `paths`, folders searched through, in a fixed order.

    Raises:
        MissingFileError: a path does not exist.
        TrainingError: a named file is of another kind, or there is none at all.
    """
    found = []
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder")
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _is_text(p))
            if not inside:
                raise TrainingError(
                    f"{path}: expected a folder with files that end in one of {_SUFFIXES}, found "
                    "none in it"
                )
            found += inside
        elif _is_text(path):
            found.append(path)
        else:
            raise TrainingError(f"{path}: expected one of {_SUFFIXES}")
    if not found:
        raise TrainingError(f"no text found; expected files that end in one of {_SUFFIXES}")
    return found


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of one file without their ends.

    Raises:
        TrainingError: it cannot be read as UTF-8, or is a Parquet file without a `text` column.
    """
    if path.suffix.lower() == ".parquet":
        yield from _parquet_lines(path)
        return
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")
    except (UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise TrainingError(f"{path}: expected readable UTF-8 text; {error}") from None


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _parquet_lines(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(f"{path}: expected a Parquet file; {error}") from None
    if "text" not in file.schema_arrow.names:
        raise TrainingError(f"{path}: expected a column 'text', received {file.schema_arrow.names}")
    for batch in file.iter_batches(columns=["text"]):
        for text in batch.column(0).to_pylist():
            yield from (text or "").splitlines()
