"""What is written of a finished partition: its done-marker, and a line for each failed input."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dvse.errors import MissingExtraError, StorageError
from dvse.remote.remote_path import Location
from dvse.storage.shard import shard_name


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
        shard: name of the shard file, where it is not the usual one: in a store.
        num_bytes: size of the shard there.
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
    shard: str = ""
    num_bytes: int = 0

    @property
    def shard_name(self) -> str:
        """Name of the shard file."""
        return self.shard or shard_name(self.partition)

    def to_json(self) -> bytes:
        """Return the document that is written."""
        fields = asdict(self)
        if not self.shard:
            del fields["shard"], fields["num_bytes"]
        return to_json_bytes(fields)

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


def read_marker(path: Location) -> DoneMarker | None:
    """Return the marker in a file, `None` where it is gone or cannot be read."""
    try:
        return DoneMarker(**json.loads(path.read_bytes()))
    except (StorageError, MissingExtraError):
        raise  # the store does not answer, which says nothing about the marker
    except (OSError, ValueError, TypeError):
        return None


def error_lines(errors: Sequence[ErrorLine]) -> bytes:
    """Return the file of some error lines."""
    return "".join(line.to_json() for line in errors).encode("utf-8")


def to_json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document of the journal as it is written."""
    text = json.dumps(document, indent=1, ensure_ascii=False, default=list)
    return (text + "\n").encode("utf-8")
