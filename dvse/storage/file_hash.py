"""The SHA-256 of a file: what bundles, journals and shards are proved by."""

import hashlib
from collections.abc import Iterable

from dvse.remote.remote_path import Location


def file_sha256(path: Location) -> str:
    """Return the SHA-256 (hex) of a file, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(paths: Iterable[Location]) -> str:
    """Return a SHA-256 (hex) of the names and contents of files, in the order given.

    Raises:
        OSError: one cannot be read.
    """
    lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()
