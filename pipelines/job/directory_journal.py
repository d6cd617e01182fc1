"""The journal of a job that writes to a directory: temporary names, flushes, renames, a lock.

    DIR/shard-000000.parquet          the first thousand shards, with
    DIR/.job/done/000000.json         their markers and
    DIR/.job/errors/000000.jsonl      their lines
    DIR/001/shard-001000.parquet      the second thousand, and so on, so that no folder grows large
    DIR/.job/done/001/001000.json
    DIR/.job/errors/001/001000.jsonl

Earlier versions had them all beside each other; theirs stay there until they are made again.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dvse.storage.atomic_file import remove_temporary_files, sync_directory, write_atomically
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import (
    NUMBERED_FOLDERS,
    PATTERN,
    beside_shard,
    folder_of,
    shard_name,
    shard_number,
)
from pipelines.job.done_marker import DoneMarker, Line, written_lines
from pipelines.job.journal import Journal
from pipelines.job.occupation import Occupation

_JOURNAL = (
    "job.json",
    "listing.jsonl",
    "seen.jsonl",
    "streams.json",
    "names.jsonl",
    "assembled.json",
)


class DirectoryJournal(Journal):
    """The files of one job directory.

    A shard is sound when it has the hash in its marker. One with the size and time in its marker
    has not been touched since it was written, and is not read again.
    """

    def __init__(self, output: Path) -> None:
        self._disk, self._parts = output, output / ".job"
        super().__init__(output, self._parts, Occupation(output, self._parts))

    def clean(self) -> None:
        """Remove temporary files and claims."""
        self.found.unlink(missing_ok=True)
        self.new_listing.unlink(missing_ok=True)
        self.seen_now.unlink(missing_ok=True)
        shutil.rmtree(self._parts / "claims", ignore_errors=True)
        for folder in (self._disk, self._parts, *self._folders()):
            for one in (folder, *folder.glob(NUMBERED_FOLDERS)):
                remove_temporary_files(one)

    def sweep(self, markers: Mapping[int, DoneMarker]) -> None:
        """Do nothing: a partition has one name here."""

    def erase(self) -> None:
        """Delete the job: its shards, error lines and journal, and nothing else."""
        results = (self._disk / name for name in ("errors.jsonl", "filtered.jsonl"))
        for path in (*self._shards(), *results):
            path.unlink(missing_ok=True)
        for folder in self._disk.glob(NUMBERED_FOLDERS):
            with contextlib.suppress(OSError):  # something else lies in it
                folder.rmdir()
        for name in _JOURNAL:
            (self._parts / name).unlink(missing_ok=True)
        (self._disk / "summary.json").unlink(missing_ok=True)
        for folder in self._folders():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def write_job(self, document: Mapping[str, Any]) -> None:
        """Write `job.json`; the new listing becomes the listing first."""
        if self.new_listing.exists():
            self.new_listing.replace(self.listing)
            sync_directory(self._parts)
        write_atomically(self._parts / "job.json", self._job_document(document))

    def damage(self, marker: DoneMarker) -> str | None:
        """Say what is wrong with a finished partition, `None` where all is as it was written."""
        shard, part = self._disk / marker.shard_name, self._error_part(marker)
        for path, name, sha256 in (
            (shard, marker.file_name, marker.sha256),
            (part, f"lines of inputs without a row {part.name}", marker.errors_sha256),
        ):
            try:
                is_untouched = path == shard and _stamp(path) == (marker.num_bytes, marker.mtime_ns)
                if not is_untouched and file_sha256(path) != sha256:
                    return f"{name}: corrupt"
            except FileNotFoundError:
                return f"{name}: missing"
            except OSError as error:
                return f"{name}: cannot be read ({error.strerror or error})"
        return None

    def distrust(self, marker: DoneMarker) -> None:
        """Touch the shard, so that it is no longer as it was written."""
        with contextlib.suppress(OSError):  # the directory may be another's
            (self._disk / marker.shard_name).touch()

    def commit(
        self,
        marker: DoneMarker,
        shard: memoryview,
        lines: Sequence[Line],
        *,
        before: DoneMarker | None = None,
    ) -> DoneMarker:
        """Write shard, lines and marker, each over what was there."""
        data = written_lines(lines)
        folder = folder_of(marker.partition)
        name = beside_shard(marker.partition, shard_name(marker.partition))
        path = self._disk / name
        _write(path, shard)
        num_bytes, mtime_ns = _stamp(path)
        marker = replace(
            marker,
            errors_sha256=hashlib.sha256(data).hexdigest(),
            num_bytes=num_bytes,
            mtime_ns=mtime_ns,
            shard=name if folder else "",
        )
        _write(self._error_part(marker), data)
        _write(self._marker(marker.partition), marker.to_json())
        if folder:
            for past in self._past(marker.partition):
                past.unlink(missing_ok=True)
        return marker

    def forget(self, partition: int) -> None:
        """Take back the done-marker of a partition."""
        super().forget(partition)
        self._past_marker(partition).unlink(missing_ok=True)

    def is_done(self, partition: int) -> bool:
        """Whether a partition has its done-marker."""
        return super().is_done(partition) or self._past_marker(partition).exists()

    def _shards(self) -> list[Path]:
        numbered = (p for f in self._disk.glob(NUMBERED_FOLDERS) for p in f.glob(PATTERN))
        inner = (p for p in numbered if p.parent.name == folder_of(shard_number(p.name)))
        return [*self._disk.glob(PATTERN), *inner]

    def _markers(self) -> list[Path]:
        done = self._parts / "done"
        return [p for f in (done, *done.glob(NUMBERED_FOLDERS)) for p in f.glob("*.json")]

    def _marker(self, partition: int) -> Path:
        return self._parts / "done" / beside_shard(partition, f"{partition:06d}.json")

    def _past(self, partition: int) -> tuple[Path, Path, Path]:
        """Where earlier versions had what belongs to a partition."""
        errors = self._parts / "errors" / f"{partition:06d}.jsonl"
        return self._disk / shard_name(partition), errors, self._past_marker(partition)

    def _past_marker(self, partition: int) -> Path:
        return self._parts / "done" / f"{partition:06d}.json"

    def _folders(self) -> list[Path]:
        return [self._parts / name for name in ("done", "errors", "parts")]

    def _put(self, file: Path, place: Any) -> None:
        file.replace(place)

    def _error_part(self, marker: DoneMarker) -> Path:
        folder = marker.shard_name.rpartition("/")[0]
        return self._parts / "errors" / folder / f"{marker.partition:06d}.jsonl"


def _write(path: Path, data: bytes | memoryview) -> None:
    """Write a file, in a folder that may not be there yet."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_directory(path.parent.parent)
    write_atomically(path, data)


def _stamp(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns
