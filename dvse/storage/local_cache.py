"""What was fetched from a store, kept on this machine up to a bound: the longest unused goes first.

Every process of a machine may share one folder. A file that is deleted while another process has it
mapped stays readable there.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dvse.errors import ConfigError
from dvse.remote import object_store
from dvse.remote.remote_path import Location
from dvse.storage.atomic_file import TEMPORARY_PREFIX, temporary_name, write_atomically

_LOCKS = ".locks"


def _default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dvse" / "shards"


@dataclass(frozen=True, kw_only=True)
class LocalCache:
    """A folder of bounded size.

    Attributes:
        folder: where; made when it is needed.
        max_bytes: what all its files together may take.

    Raises:
        ConfigError: a bound below 1.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = LocalCache(folder=Path(folder), max_bytes=10)
    ...     cache.keep({"a": b"12345678"})
    ...     cache.keep({"b": b"1234"})
    ...     cache.find("a"), cache.find("b").name
    (None, 'b')
    """

    folder: Path = field(default_factory=_default_folder)
    max_bytes: int = 64 << 30

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes: expected at least 1, received {self.max_bytes}")

    def find(self, name: str) -> Path | None:
        """Return a file that is kept, and note that it was used; `None` where there is none."""
        path = self.folder / name
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def keep(self, files: dict[str, bytes]) -> None:
        """Keep files that belong together, the last one written last; make room for them before.

        Where there is no room or no right to write, nothing is kept.
        """
        size = sum(map(len, files.values()))
        if size > self.max_bytes:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(self.max_bytes - size)
            for name, data in files.items():
                write_atomically(self.folder / name, data)

    def fetched(self, place: Location) -> Path:
        """Return a file of this machine with the bytes of a place: itself, if it is one.

        What does not fit into the bound is kept all the same, for whoever asks needs it.

        Raises:
            MissingFileError: it is not there.
            StorageError: the store does not answer, or the disk is full.
        """
        if isinstance(place, Path):
            return place
        found = place.info()
        key = hashlib.sha256(f"{found.address}\0{found.size}\0{found.version}".encode())
        name = f"{key.hexdigest()[:32]}{place.suffix}"
        with self.one_at_a_time(name):
            if (path := self.find(name)) is not None:
                return path
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(max(self.max_bytes - found.size, 0))
            path = self.folder / name
            temporary = temporary_name(path)
            object_store.download(found.address, str(temporary))
            temporary.replace(path)
            return path

    @contextlib.contextmanager
    def one_at_a_time(self, name: str) -> Iterator[None]:
        """Keep other processes from making the same file meanwhile, where the system can."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                lock = self.folder / _LOCKS / name[:2]
                lock.parent.mkdir(parents=True, exist_ok=True)
                fcntl.flock(stack.enter_context(lock.open("w")), fcntl.LOCK_EX)
            yield

    def _make_room(self, allowed: int) -> None:
        kept = []
        for path in self.folder.iterdir():
            if path.name == _LOCKS or path.name.startswith(TEMPORARY_PREFIX):
                continue
            with contextlib.suppress(OSError):  # another process was faster
                info = path.stat()
                kept.append((info.st_mtime_ns, info.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= allowed:
                return
            path.unlink(missing_ok=True)
            total -= size
