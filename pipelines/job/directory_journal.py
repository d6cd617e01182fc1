"""The journal of a job that writes to a directory: temporary names, flushes, renames, a lock."""

import contextlib
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dvse.storage.atomic_file import remove_temporary_files, sync_directory, write_atomically
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import PATTERN
from pipelines.job.done_marker import DoneMarker, Line, written_lines
from pipelines.job.journal import Journal
from pipelines.job.occupation import Occupation


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
        shutil.rmtree(self._parts / "claims", ignore_errors=True)
        for folder in (self._disk, self._parts, *self._folders()):
            remove_temporary_files(folder)

    def sweep(self, markers: Mapping[int, DoneMarker]) -> None:
        """Do nothing: a partition has one name here."""

    def erase(self) -> None:
        """Delete the job: its shards, error lines and journal, and nothing else."""
        results = (self._disk / name for name in ("errors.jsonl", "filtered.jsonl"))
        for path in (*self._disk.glob(PATTERN), *results):
            path.unlink(missing_ok=True)
        for name in ("job.json", "listing.jsonl", "streams.json", "names.jsonl"):
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
            (shard, marker.shard_name, marker.sha256),
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
        path = self._disk / marker.shard_name
        write_atomically(path, shard)
        num_bytes, mtime_ns = _stamp(path)
        marker = replace(
            marker,
            errors_sha256=hashlib.sha256(data).hexdigest(),
            num_bytes=num_bytes,
            mtime_ns=mtime_ns,
        )
        write_atomically(self._error_part(marker), data)
        write_atomically(self._marker(marker.partition), marker.to_json())
        return marker

    def _folders(self) -> list[Path]:
        return [self._parts / name for name in ("done", "errors", "parts")]

    def _put(self, file: Path, place: Any) -> None:
        file.replace(place)

    def _error_part(self, marker: DoneMarker) -> Path:
        return self._parts / "errors" / f"{marker.partition:06d}.jsonl"


def _stamp(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns
