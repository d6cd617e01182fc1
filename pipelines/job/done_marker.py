"""What is written of a finished partition: its done-marker, and a line for each other input.

An input that has no row failed or was refused by a filter. The lines of both stand in one part of
the journal, so that they come into being with their shard.
"""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from dvse.errors import MissingExtraError, StorageError
from dvse.remote.remote_path import Location
from dvse.storage.shard import shard_name

NO_MARK = "-"


@dataclass(frozen=True, kw_only=True)
class DoneMarker:
    """What is known of a finished partition.

    Attributes:
        partition: its number.
        first: number of its first input.
        num_inputs, num_rows, num_errors, num_filtered: inputs are all others together.
        num_ids: ids in all rows.
        by_modality: modality → [rows, ids].
        by_error: exception type → inputs.
        sha256: hash (hex) of the shard file.
        errors_sha256: hash (hex) of the lines of inputs without a row.
        holes: numbers among its own whose input went away.
        shard: where the shard lies in the output, where that is not its usual name: in a store,
            and behind the first thousand.
        num_bytes: size of the shard.
        mtime_ns: time of its last change, in a directory.
        by_filter: filter → inputs that it refused.
        marks: filter → a word for each row, `-` where it has none, with spaces between them.
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
    mtime_ns: int = 0
    num_filtered: int = 0
    by_filter: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)

    @property
    def shard_name(self) -> str:
        """Where the shard lies in the output."""
        return self.shard or shard_name(self.partition)

    @property
    def file_name(self) -> str:
        """Name of the shard file."""
        return self.shard_name.rpartition("/")[2]

    def to_json(self) -> bytes:
        """Return the document that is written."""
        fields = asdict(self)
        for name in ("shard", "mtime_ns", "num_filtered", "by_filter", "marks"):
            if not fields[name]:
                del fields[name]
        return to_json_bytes(fields)

    def row_numbers(self, without: Container[int]) -> list[int]:
        """Return the numbers of the inputs that have rows, given those that have a line."""
        numbers = range(self.first, self.first + self.num_inputs + len(self.holes))
        return [n for n in numbers if n not in without and n not in self.holes]

    def row_marks(self) -> list[dict[str, str]]:
        """Return the marks of each row, by filter."""
        found: list[dict[str, str]] = [{} for _ in range(self.num_rows)]
        for name, words in self.marks.items():
            for marks, word in zip(found, words.split(), strict=True):
                if word != NO_MARK:
                    marks[name] = word
        return found


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


@dataclass(frozen=True, kw_only=True)
class FilteredLine:
    """A line of `filtered.jsonl`.

    Attributes:
        index: number of the input in the job, from 0.
        id, modality, source, sha256, text: of the input, as its row would have them.
        filter: which refused it.
        reason, score: one sentence, and the measure that decided.
        num_ids: of the row that was refused; `None` where nothing was encoded.
    """

    index: int
    id: str
    modality: str
    source: str | None
    sha256: str | None
    text: str | None
    filter: str
    reason: str
    score: float
    num_ids: int | None = None

    @classmethod
    def of(cls, index: int, row: Mapping[str, Any]) -> "FilteredLine":
        """Return the line of a refused row."""
        names = ("id", "modality", "source", "sha256", "text", "filter", "reason", "score")
        ids = row.get("ids")
        num_ids = None if ids is None else len(ids)
        return cls(index=index, num_ids=num_ids, **{name: row[name] for name in names})

    def to_json(self) -> str:
        """Return the line."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


Line: TypeAlias = ErrorLine | FilteredLine


def read_lines(data: bytes) -> list[Line]:
    """Return the lines of a part of the journal."""
    documents = map(json.loads, data.splitlines())
    return [FilteredLine(**d) if "filter" in d else ErrorLine(**d) for d in documents]


def read_marker(path: Location) -> DoneMarker | None:
    """Return the marker in a file, `None` where it is gone or cannot be read."""
    try:
        return DoneMarker(**json.loads(path.read_bytes()))
    except (StorageError, MissingExtraError):
        raise  # the store does not answer, which says nothing about the marker
    except (OSError, ValueError, TypeError):
        return None


def written_lines(lines: Sequence[Line]) -> bytes:
    """Return the file of some lines."""
    return "".join(line.to_json() for line in lines).encode("utf-8")


def to_json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document of the journal as it is written."""
    text = json.dumps(document, indent=1, ensure_ascii=False, default=list)
    return (text + "\n").encode("utf-8")
