"""Composes token shards out of token shards.

    OUT/shard-000000.parquet …            composed rows; a shard for each template and input shard,
    OUT/001/shard-001000.parquet …        behind the first thousand in a folder a thousand
    OUT/provenance/000000.parquet …       which stored rows are in which composed row; likewise
    OUT/left_out.jsonl                    rows that a template could not be filled in for, and why
    OUT/dvse-export.json                  recipe, bundle, counts; written last

Shards, provenance and what was left out come into being together, as the pieces of an export do,
and a rerun writes what is missing. The bytes depend on the shards and the recipe alone.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dvse.errors import ConfigError, ShardError, VocabularyError
from dvse.storage.shard import (
    PATTERN,
    ShardMetadata,
    beside_shard,
    encode_shard,
    encoding_row,
    find_shards,
    read_metadata,
    read_shard,
    shard_name,
    shard_schema,
)
from dvse.tokenizer import Tokenizer
from pipelines.composing.parts import Composed
from pipelines.composing.recipe import Recipe
from pipelines.composing.templates import LeftOut, Template, Words
from pipelines.engines.spread import spread
from pipelines.export.format import PieceRecord
from pipelines.export.journal import MANIFEST, PROVENANCE_FOLDER, ExportJournal
from pipelines.export.output_file import FilePart, write_whole

FORMAT = "tokens"
LEFT_OUT = "left_out.jsonl"

_LEFT_OUT_FOLDER = ".export/left_out"

_PROVENANCE = pa.schema(
    [
        pa.field("row", pa.string(), nullable=False),
        pa.field("place", pa.int32(), nullable=False),
        *(pa.field(name, pa.string()) for name in ("tokens", "shard", "id", "source", "sha256")),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ComposeSummary:
    """What came of composing.

    Attributes:
        num_rows, num_ids: template → rows and ids.
        left_out: template → reason → rows.
        num_shards, num_new: shards, and those that this run wrote.
    """

    num_rows: dict[str, int]
    num_ids: dict[str, int]
    left_out: dict[str, dict[str, int]]
    num_shards: int
    num_new: int

    def table(self) -> str:
        """Return the lines for a person."""
        width = max(map(len, self.num_rows)) + 2
        lines = [f"{'':{width}}{'rows':>12}{'ids':>16}{'left out':>12}"]
        for name, rows in self.num_rows.items():
            reasons = self.left_out.get(name, {})
            lines.append(
                f"{name:{width}}{rows:12,}{self.num_ids[name]:16,}{sum(reasons.values()):12,}"
            )
            lines += [f"{'':{width}}  {count:,}: {reason}" for reason, count in reasons.items()]
        lines.append(f"{self.num_new:,} of {self.num_shards:,} shards written")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A shard to compose: one template over one input shard."""

    number: int
    name: str
    tokens: str  # name of the directory, which holds folders where there are many shards
    path: Path


def compose(
    tokens: Sequence[Path],
    output: Path,
    recipe: Recipe,
    tokenizer: Tokenizer,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
) -> ComposeSummary:
    """Compose what is missing and return the summary.

    Args:
        tokens: directories of token shards of one bundle.
        output: directory of the new ones.
        recipe: the templates.
        tokenizer: of the bundle.
        num_workers: processes; they never change a byte.
        overwrite: delete what an earlier run left there.

    Raises:
        ShardError: no shards, a corrupt one, or a row that the grammar does not allow.
        ConfigError: shards of another bundle, or a directory that holds something else.
        ResumeError: another recipe or other shards were begun there.
        StorageError: the disk is full; what is finished stays.
        WorkerDiedError: a process was killed.
    """
    shards = [(folder.name, path) for folder in tokens for path in _shards(folder, tokenizer)]
    paths = [path for _, path in shards]
    composer = _Composer(output, recipe, tokenizer)
    names = list(recipe.templates)
    tasks = [
        _Task(number=len(paths) * place + number, name=name, tokens=folder, path=path)
        for place, name in enumerate(names)
        for number, (folder, path) in enumerate(shards)
    ]
    journal = ExportJournal(output)
    with journal.locked():
        if overwrite:
            journal.erase()
        journal.begin(
            {
                "format": FORMAT,
                "version": 1,
                "bundle_fingerprint": tokenizer.fingerprint,
                "recipe": dict(recipe.files),
                "shards": [[str(p), (s := p.stat()).st_size, s.st_mtime_ns] for p in paths],
            }
        )
        journal.clean()
        records = journal.records()
        missing = [task for task in tasks if task.number not in records]
        if missing:
            journal.reopen()
        name = "shard {0.number} ({0.name} of {0.path.name})".format
        for task, record in spread(composer.write, missing, num_workers, name=name):
            records[task.number] = record
            journal.commit(task.number, record)
        return _finish(journal, recipe, tokenizer, tasks, records, len(missing))


class _Composer:
    """Writes shards of composed rows; goes to other processes, so it holds no encoder."""

    def __init__(self, output: Path, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self._output, self._recipe = output, recipe
        vocabulary = tokenizer.vocabulary
        self._grammar, self._id_dtype = tokenizer.grammar, vocabulary.id_dtype
        self._words = Words(
            vocabulary=vocabulary, text=tokenizer.text, tasks=recipe.task_ids(vocabulary)
        )
        self._levels = {m: vocabulary.num_levels(m) for m in ("image", "audio")}
        self._schema = shard_schema(vocabulary.id_dtype)
        self._metadata = ShardMetadata.of(tokenizer).to_schema_metadata()

    def write(self, task: _Task) -> PieceRecord:
        """Write a shard, its provenance and what was left out."""
        template = self._recipe.templates[task.name]
        rows, provenance, left_out = [], [], []
        for one in self._joined(template, read_shard(task.path).to_pylist()):
            if isinstance(one, LeftOut):
                left_out.append(asdict(one) | {"template": task.name})
                continue
            rows.append(self._row(one, task))
            provenance += _provenance(one, task)
        shard = encode_shard(rows, schema=self._schema, metadata=self._metadata)
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in left_out)
        name, left_out_name, own_name = (
            beside_shard(task.number, name)
            for name in (
                f"{task.number:06d}.parquet",
                f"{task.number:06d}.jsonl",
                shard_name(task.number),
            )
        )
        parts = [
            write_whole(self._output, f"{PROVENANCE_FOLDER}/{name}", _table(provenance)),
            write_whole(self._output, f"{_LEFT_OUT_FOLDER}/{left_out_name}", lines.encode()),
            write_whole(self._output, own_name, shard),
        ]
        return PieceRecord(
            split=task.name,
            number=task.number,
            num_sequences=len(rows),
            num_ids=sum(len(row["ids"]) for row in rows),
            parts=tuple(parts),
        )

    def _joined(
        self, template: Template, rows: Sequence[dict[str, Any]]
    ) -> Iterator[Composed | LeftOut]:
        """Yield what becomes of the rows of a shard, some documents in one where that is asked."""
        size = self._recipe.joins.get(template.name, 1)
        held: list[Composed] = []
        for row in rows:
            for one in template.compose(row, self._words):
                if isinstance(one, LeftOut) or size == 1:
                    yield one
                    continue
                held.append(one)
                if len(held) == size:
                    yield _together(held)
                    held = []
        if held:
            yield _together(held)

    def _row(self, one: Composed, task: _Task) -> dict[str, Any]:
        encoding = one.encoding(self._levels)
        try:
            self._grammar.check(encoding.ids)
        except VocabularyError as error:
            raise ShardError(
                f"{task.path}: {one.id} would be no legal stream ({error}); run dvse verify on "
                "the shards"
            ) from None
        digests = [row["sha256"] for row in one.inputs]
        is_known = all(digest is not None for digest in digests)
        return encoding_row(
            encoding,
            id=one.id,
            source=one.inputs[0]["source"] if len(digests) == 1 else None,
            sha256=_sha256(digests) if is_known else None,
            loss_mask=one.loss_mask(),
            id_dtype=self._id_dtype,
        )


def _shards(folder: Path, tokenizer: Tokenizer) -> list[Path]:
    paths = [Path(str(path)) for path in find_shards(folder)]
    if not paths:
        raise ShardError(f"{folder}: expected {PATTERN} written by dvse tokenize, found none")
    for path in paths:
        metadata = read_metadata(path)
        if metadata.bundle_fingerprint != tokenizer.fingerprint:
            raise ConfigError(
                f"{path} was made with the bundle {metadata.bundle!r} "
                f"({metadata.bundle_fingerprint[:16]}…), not with {tokenizer.name!r} "
                f"({tokenizer.fingerprint[:16]}…); name the right one with --bundle, or tokenise "
                "again"
            )
    return paths


def _together(some: Sequence[Composed]) -> Composed:
    """Several documents as one row, named after the first."""
    return replace(
        some[0],
        parts=[part for one in some for part in one.parts],
        inputs=[row for one in some for row in one.inputs],
    )


def _sha256(digests: Sequence[str]) -> str:
    """Of one input its hash; of several the hash of their hashes, as a job has it."""
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _provenance(one: Composed, task: _Task) -> list[dict[str, Any]]:
    where = {"tokens": task.tokens, "shard": task.path.name}
    return [
        {"row": one.id, "place": place, **where, **{k: row[k] for k in ("id", "source", "sha256")}}
        for place, row in enumerate(one.inputs)
    ]


def _table(rows: Sequence[dict[str, Any]]) -> memoryview:
    return encode_shard(rows, schema=_PROVENANCE, metadata={})


def _finish(
    journal: ExportJournal,
    recipe: Recipe,
    tokenizer: Tokenizer,
    tasks: Sequence[_Task],
    records: dict[int, PieceRecord],
    num_new: int,
) -> ComposeSummary:
    output = journal.output
    lines = b"".join(
        (output / part.name).read_bytes()
        for task in tasks
        for part in records[task.number].parts
        if part.name.startswith(f"{_LEFT_OUT_FOLDER}/")
    )
    left_out: dict[str, Counter[str]] = {}
    for line in map(json.loads, lines.splitlines()):
        left_out.setdefault(line["template"], Counter())[line["reason"]] += 1
    num_rows = dict.fromkeys(recipe.templates, 0)
    num_ids = dict(num_rows)
    for task in tasks:
        num_rows[task.name] += records[task.number].num_sequences
        num_ids[task.name] += records[task.number].num_ids
    parts: list[FilePart] = [part for task in tasks for part in records[task.number].parts]
    if not (output / MANIFEST).exists():
        parts.append(write_whole(output, LEFT_OUT, lines))
        journal.write_manifest(
            {
                "format": FORMAT,
                "version": 1,
                "bundle": tokenizer.name,
                "bundle_fingerprint": tokenizer.fingerprint,
                "vocabulary_fingerprint": tokenizer.vocabulary.fingerprint,
                "recipe": dict(recipe.files),
                "tasks": recipe.task_ids(tokenizer.vocabulary),
                "num_rows": num_rows,
                "num_ids": num_ids,
                "left_out": {name: dict(counts) for name, counts in left_out.items()},
                "files": [asdict(part) for part in parts],
            }
        )
    return ComposeSummary(
        num_rows=num_rows,
        num_ids=num_ids,
        left_out={name: dict(counts.most_common()) for name, counts in left_out.items()},
        num_shards=len(tasks),
        num_new=num_new,
    )
