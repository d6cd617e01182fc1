"""What every training writes at its end: a part with its provenance, whole or not at all."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dvse.remote.remote_path import Location
from pipelines.runs.storage import cannot_write


@contextmanager
def writing_part(folder: Path) -> Iterator[None]:
    """Write a part's files inside, `part.json` last: a folder without it is no part.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, "the part", error) from error


def hash_files(paths: Sequence[Location]) -> str:
    """Return a hash of the bytes of all files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
