"""Lines of text from files, streamed: `.txt`, `.md`, `.gz`, and Parquet with a `text` column."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvse.errors import MissingFileError, TrainingError

_SUFFIXES = (".txt", ".md", ".gz", ".parquet")


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
            found += sorted(p for p in path.rglob("*") if p.is_file() and _is_text(p))
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
