"""One file from the web: whole and with its hash, or not there at all."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dvse.errors import BundleIntegrityError, BundleNotFoundError, ConfigError, StorageError
from dvse.storage.file_hash import file_sha256

_TIMEOUT_S = 60
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """Where a file comes from and what it must be.

    Attributes:
        url: http or https.
        name: of the file on this machine; by default the last part of the URL.
        sha256: hex digits, all 64 or the first ones that its authors publish; empty where they
            publish none: then the hash of the first download is written beside it and kept to.
    """

    url: str
    name: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(f"expected an http or https URL, received {self.url!r}")
        name = self.name or Path(urlsplit(self.url).path).name
        if not name or Path(name).name != name or name.startswith("."):
            raise ConfigError(f"{self.url}: expected a plain file name, received {name!r}")
        object.__setattr__(self, "name", name)
        if len(self.sha256) > 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ConfigError(f"{self.url}: expected a sha256 in hex, received {self.sha256!r}")

    @property
    def place(self) -> str:
        """Name of the folder for files of the same folder of the web, which lie side by side."""
        return hashlib.sha256(self.url.rpartition("/")[0].encode()).hexdigest()[:12]

    def fetch(self, folder: Path) -> Path:
        """Return the file in `folder`, downloaded where it is not there yet.

        Raises:
            BundleNotFoundError: it cannot be had; the message says where to put it by hand.
            BundleIntegrityError: cut short, or of another hash.
            StorageError: it cannot be written.
        """
        path = folder / self.name
        if not path.is_file():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._download(path)
            except OSError as error:
                if isinstance(error, BundleNotFoundError):
                    raise
                raise StorageError(
                    f"{path}: cannot be written; {error.strerror or error}. Free some space, or "
                    "set DVSE_CACHE to another folder"
                ) from error
        else:
            self._check(path, file_sha256(path))
        return path

    def _download(self, path: Path) -> None:
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            found = self._read(path, draft)
            self._check(path, found)
            if not self.sha256:
                path.with_name(f"{path.name}.sha256").write_text(found + "\n")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def _read(self, path: Path, draft: Path) -> str:
        from http.client import HTTPException
        from urllib.request import urlopen

        digest, size = hashlib.sha256(), 0
        try:
            answer = urlopen(self.url, timeout=_TIMEOUT_S)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or getattr(error, "code", None) or error
            raise BundleNotFoundError(
                f"{self.url} cannot be downloaded ({reason}); download it yourself and put it at "
                f"{path}"
            ) from error
        with answer, draft.open("wb") as file:
            expected = answer.headers.get("Content-Length") or ""
            while True:
                try:
                    block = answer.read(_BLOCK)
                except (OSError, HTTPException) as error:  # of the network, not of the disk
                    raise self._cut(size, f"bytes ({error or type(error).__name__})") from error
                if not block:
                    break
                digest.update(block)
                size += len(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if expected.isdecimal() and size != int(expected):
            raise self._cut(size, f"of {int(expected):,} bytes")
        return digest.hexdigest()

    def _cut(self, size: int, of: str) -> BundleIntegrityError:
        return BundleIntegrityError(
            f"{self.url}: the download ended after {size:,} {of}, nothing was kept; run the same "
            "command again"
        )

    def _check(self, path: Path, found: str) -> None:
        expected, note = self.sha256, path.with_name(f"{path.name}.sha256")
        if not expected and note.is_file():
            expected = note.read_text().strip()
        if not found.startswith(expected):
            raise BundleIntegrityError(
                f"{path}: expected the file of {self.url} with sha256 {expected}, received "
                f"{found}; it is damaged or another one, delete it and fetch it again"
            )
