"""What a job writes down so that it can go on later: the files in its output directory.

    DIR/shard-000000.parquet …   the shards, one a partition
    DIR/errors.jsonl             a line for each input that gave no row
    DIR/summary.json             the summary
    DIR/.job/job.json            bundle, inputs, options, numerics profile
    DIR/.job/listing.jsonl       the inputs, in the order of their numbers
    DIR/.job/done/000000.json    done-marker of a partition, written after its shard is safe
    DIR/.job/errors/000000.jsonl error lines of a partition
    DIR/.job/names.jsonl         names that are not the inputs' own, where parts of a job are done
    DIR/.job/parts/              their locks and signs of life
    DIR/.job/claims/             who has taken over which partition of a lost part

Every file is written to a temporary name, flushed and renamed. A partition counts as done when its
marker is there and its shard has the hash in the marker. `errors.jsonl` is put together from the
parts each time, so a rerun can never repeat a line in it.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError, ResumeError
from dvse.storage.atomic_file import (
    remove_temporary_files,
    sync_directory,
    temporary_name,
    write_atomically,
)
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import PATTERN, shard_name
from pipelines.job.occupation import Occupation
from pipelines.sources.entry import Entry

FORMAT = "dvse-job"
FORMAT_VERSION = 2
# Version 1 had no holes and no boundaries in its listing; all else is the same.
_READABLE = (1, 2)


@dataclass(frozen=True, kw_only=True)
class DoneMarker:
    """What is known of a finished partition.

    Attributes:
        partition: its number.
        first: number of its first input.
        num_inputs, num_rows, num_errors: rows and errors add up to inputs.
        num_ids: ids in all rows.
        by_modality: modality → [rows, ids].
        by_error: exception type → inputs.
        sha256: hash (hex) of the shard file.
        errors_sha256: hash (hex) of the error lines.
        holes: numbers among its own whose input went away.
    """

    partition: int
    first: int
    num_inputs: int
    num_rows: int
    num_errors: int
    num_ids: int
    by_modality: Mapping[str, Sequence[int]] = field(default_factory=dict)
    by_error: Mapping[str, int] = field(default_factory=dict)
    sha256: str = ""
    errors_sha256: str = ""
    holes: Sequence[int] = ()

    def row_numbers(self, failed: Container[int]) -> list[int]:
        """Return the numbers of the inputs that have rows, given those that failed."""
        numbers = range(self.first, self.first + self.num_inputs + len(self.holes))
        return [n for n in numbers if n not in failed and n not in self.holes]


@dataclass(frozen=True, kw_only=True)
class ErrorLine:
    """A line of `errors.jsonl`.

    Attributes:
        index: number of the input in the job, from 0.
        id, source: name of the input and where it lies.
        stage: `list`, `read`, `decode` or `encode`.
        type: name of the exception.
        reason: one sentence.
    """

    index: int
    id: str
    source: str
    stage: str
    type: str
    reason: str

    def to_json(self) -> str:
        """Return the line."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


class Journal:
    """The files of one job directory."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._folder = output / ".job"
        self.listing = self._folder / "listing.jsonl"
        self.new_listing = self._folder / "listing.new.jsonl"
        self.found = self._folder / "found.jsonl"
        self.names = self._folder / "names.jsonl"
        self.beats = self._folder / "parts"
        self.claims = self._folder / "claims"
        self.occupation = Occupation(output, self._folder)

    def exists(self) -> bool:
        """Whether a job was begun here."""
        return (self._folder / "job.json").exists()

    def clean(self) -> None:
        """Remove what killed writers left behind; only for whoever is alone here."""
        self.found.unlink(missing_ok=True)
        self.new_listing.unlink(missing_ok=True)
        shutil.rmtree(self.claims, ignore_errors=True)
        for folder in (self.output, self._folder, *self._parts_of_folder()):
            remove_temporary_files(folder)

    def refuse_strangers(self) -> None:
        """Refuse to write among shards that no job here has written.

        Raises:
            ConfigError: there are some.
        """
        if not self.exists() and (found := next(self.output.glob(PATTERN), None)) is not None:
            raise ConfigError(
                f"--output {self.output}: {found.name} is there and belongs to no job; choose "
                "another directory, or pass --overwrite to delete the shards"
            )

    def erase(self) -> None:
        """Delete the job: its shards, error lines and journal, and nothing else."""
        for path in (*self.output.glob(PATTERN), self.output / "errors.jsonl"):
            path.unlink(missing_ok=True)
        for name in ("job.json", "listing.jsonl", "streams.json", "names.jsonl"):
            (self._folder / name).unlink(missing_ok=True)
        (self.output / "summary.json").unlink(missing_ok=True)
        for folder in self._parts_of_folder():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def read_job(self) -> dict[str, Any]:
        """Return what `job.json` says.

        Raises:
            ResumeError: it cannot be read, or another version wrote it.
        """
        try:
            document = json.loads((self._folder / "job.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResumeError(
                f"{self.output}: its journal cannot be read ({error}); pass --overwrite to start "
                "again"
            ) from None
        version = document.get("format_version")
        if document.get("format") != FORMAT or version not in _READABLE:
            raise ResumeError(
                f"{self.output}: another version of DVSE began this job; go on with that version, "
                "or pass --overwrite to start again"
            )
        return document

    def write_job(self, document: Mapping[str, Any]) -> None:
        """Write `job.json`; the new listing becomes the listing first."""
        if self.new_listing.exists():
            self.new_listing.replace(self.listing)
            sync_directory(self._folder)
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        self._write_json(self._folder / "job.json", dict(document) | head)

    def write_new_listing(self, entries: Iterable[Entry]) -> None:
        """Write the listing that `write_job` is to put in force."""
        with self.new_listing.open("w", encoding="ascii") as file:
            file.writelines(entry.to_json() + "\n" for entry in entries)

    def stream_lengths(self) -> dict[int, int]:
        """Return position in the listing → inputs, for streams read to their end."""
        try:
            found = json.loads((self._folder / "streams.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {int(position): length for position, length in found.items()}

    def forget_streams(self) -> None:
        """Forget how long streams were."""
        (self._folder / "streams.json").unlink(missing_ok=True)

    def write_stream_length(self, position: int, length: int) -> None:
        """Remember how long a stream was."""
        known = self.stream_lengths() | {position: length}
        self._write_json(self._folder / "streams.json", {str(k): v for k, v in known.items()})

    def shard(self, partition: int) -> Path:
        """Return the path of a partition's shard."""
        return self.output / shard_name(partition)

    def markers(self) -> dict[int, DoneMarker]:
        """Return the done-markers, by partition; unreadable ones are left out."""
        found = {}
        for path in sorted((self._folder / "done").glob("*.json")):
            try:
                marker = DoneMarker(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            found[marker.partition] = marker
        return found

    def damage(self, marker: DoneMarker) -> str | None:
        """Say what is wrong with a finished partition, `None` where all has its recorded hash."""
        part = self._error_part(marker.partition)
        for path, name, sha256 in (
            (self.shard(marker.partition), self.shard(marker.partition).name, marker.sha256),
            (part, f"error lines {part.name}", marker.errors_sha256),
        ):
            try:
                if file_sha256(path) != sha256:
                    return f"{name}: corrupt"
            except FileNotFoundError:
                return f"{name}: missing"
            except OSError as error:
                return f"{name}: cannot be read ({error.strerror or error})"
        return None

    def commit(self, marker: DoneMarker, errors: Sequence[ErrorLine]) -> DoneMarker:
        """Write error lines and then the marker of a partition whose shard is safe.

        Returns the marker as it was written, with the hash of the error lines.
        """
        lines = "".join(line.to_json() for line in errors).encode("utf-8")
        write_atomically(self._error_part(marker.partition), lines)
        marker = replace(marker, errors_sha256=hashlib.sha256(lines).hexdigest())
        self._write_json(self._marker(marker.partition), asdict(marker))
        return marker

    def forget(self, partition: int) -> None:
        """Take back the done-marker of a partition."""
        self._marker(partition).unlink(missing_ok=True)

    def done(self) -> set[int]:
        """Return the partitions that have their done-marker."""
        return {int(p.stem) for p in (self._folder / "done").glob("*.json") if p.stem.isdecimal()}

    def is_done(self, partition: int) -> bool:
        """Whether a partition has its done-marker."""
        return self._marker(partition).exists()

    def errors(self, partition: int) -> list[ErrorLine]:
        """Return the error lines of a finished partition."""
        try:
            with self._error_part(partition).open(encoding="utf-8") as file:
                return [ErrorLine(**json.loads(line)) for line in file]
        except FileNotFoundError:
            return []

    def assemble_errors(self, partitions: Sequence[int], pending: Sequence[ErrorLine]) -> None:
        """Write `errors.jsonl` from the parts of finished partitions and what is pending."""
        temporary = temporary_name(self.output / "errors.jsonl")
        with temporary.open("wb") as file:
            for partition in sorted(partitions):
                with contextlib.suppress(FileNotFoundError):
                    file.write(self._error_part(partition).read_bytes())
            for line in sorted(pending, key=lambda line: line.index):
                file.write(line.to_json().encode("utf-8"))
        temporary.replace(self.output / "errors.jsonl")

    def write_summary(self, document: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        self._write_json(self.output / "summary.json", document)

    def _parts_of_folder(self) -> list[Path]:
        return [self._folder / "done", self._folder / "errors", self.beats]

    def _marker(self, partition: int) -> Path:
        return self._folder / "done" / f"{partition:06d}.json"

    def _error_part(self, partition: int) -> Path:
        return self._folder / "errors" / f"{partition:06d}.jsonl"

    def _write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, indent=1, ensure_ascii=False, default=list)
        write_atomically(path, (text + "\n").encode("utf-8"))
