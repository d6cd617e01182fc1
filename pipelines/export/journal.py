"""What an export writes down so that it can go on later.

    OUT/dvse-export.json                 format, bundle, counts; written last, once all is there
    OUT/provenance/train-000000.parquet  which input is which sequence, a file a piece
    OUT/.export/export.json              what was begun: format, settings, shards
    OUT/.export/done/000000.json         marker of a piece, written after its files and provenance;
                                         behind the first thousand done/001/001000.json

A piece is done when its marker is there and the files that it names are long enough; so files and
provenance come into being together or not at all.
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError, DvseError, ResumeError, ShardError, StorageError
from dvse.storage.atomic_file import TEMPORARY_PREFIX, write_atomically
from dvse.storage.shard import NUMBERED_FOLDERS, beside_shard
from pipelines.export.format import PieceRecord
from pipelines.export.output_file import FilePart

MANIFEST = "dvse-export.json"
PROVENANCE_FOLDER = "provenance"

_FOLDER = ".export"


class ExportJournal:
    """The journal of one export."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._folder = output / _FOLDER
        self._done = self._folder / "done"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory, and keep a second export and foreign files out of it.

        Raises:
            ConfigError: another export is at work there, it holds something else, or it cannot
                be made.
            StorageError: the disk is full, or what is written cannot be; what is finished stays.
        """
        self._refuse_strangers()
        try:
            self._done.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise ConfigError(f"{self.output}: {error.strerror or error}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"{self.output}: another export is writing there; wait for it or stop it"
                ) from None
            try:
                yield
            except OSError as error:
                if isinstance(error, DvseError):
                    raise
                raise StorageError(
                    f"{self.output}: it could not be written ({error.strerror or error}); make "
                    "room, then run the same command again: what is finished stays"
                ) from error

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Write down what is exported, or check that it is what was begun here.

        Raises:
            ResumeError: it is something else.
        """
        path = self._folder / "export.json"
        if not path.exists():
            write_atomically(path, _json(identity))
            return
        before = json.loads(path.read_bytes())
        now = json.loads(_json(identity))
        if before != now:
            what = [key for key in now if before.get(key) != now[key]]
            change = ", ".join(
                key if key == "shards" else f"{key} {before.get(key)!r} then, {now[key]!r} now"
                for key in what
            )
            raise ResumeError(
                f"{self.output}: an export with other settings or shards was begun here "
                f"({change}); choose another directory, or pass --overwrite to begin again"
            )

    def records(self) -> dict[int, PieceRecord]:
        """Return what is known of the pieces whose files are there, by their index."""
        found = {}
        folders = (self._done, *sorted(self._done.glob(NUMBERED_FOLDERS)))
        for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
            record = record_from_dict(json.loads(path.read_bytes()))
            if all(part.is_there(self.output) for part in record.parts):
                found[int(path.stem)] = record
        return found

    def commit(self, index: int, record: PieceRecord) -> None:
        """Mark a piece as done."""
        path = self._done / beside_shard(index, f"{index:06d}.json")
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _json(asdict(record)))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Declare the export finished."""
        write_atomically(self.output / MANIFEST, _json(manifest))

    def reopen(self) -> None:
        """Take back that it is finished, as a piece has to be made again."""
        (self.output / MANIFEST).unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed writers left behind."""
        for path in self.output.rglob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)

    def erase(self) -> None:
        """Delete the export: what its markers and manifest name, and its journal."""
        names = {part.name for record in self.records().values() for part in record.parts}
        if (self.output / MANIFEST).exists():
            names |= {part["name"] for part in read_manifest(self.output)["files"]}
        for name in names:
            (self.output / name).unlink(missing_ok=True)
        self.reopen()
        shutil.rmtree(self._folder)
        self._done.mkdir(parents=True)

    def _refuse_strangers(self) -> None:
        if self.output.is_file():
            raise ConfigError(f"{self.output}: expected a directory to export to, found a file")
        if not self._folder.exists() and self.output.is_dir() and any(self.output.iterdir()):
            raise ConfigError(
                f"{self.output}: there are files that no export has written; choose an empty or "
                "new directory"
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a finished export says of itself.

    Raises:
        ShardError: there is none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        reason = (
            "it is not finished; run the same command again"
            if (folder / _FOLDER).exists()
            else "expected a directory written by dvse export"
        )
        raise ShardError(f"{folder}: there is no {MANIFEST}; {reason}")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ShardError(f"{path}: expected JSON; {error}") from None


def record_from_dict(document: Mapping[str, Any]) -> PieceRecord:
    """Return the record that was written as JSON."""
    parts = tuple(FilePart(**part) for part in document["parts"])
    return PieceRecord(**{**document, "parts": parts})


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
