"""The SHA-256 of a file: what bundles, journals and shards are proved by."""

import hashlib

from dvse.remote.remote_path import Location


def file_sha256(path: Location) -> str:
    """Return the SHA-256 (hex) of a file, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
