r"""The recipe: a TOML file of templates that a person can read.

    [tasks]                                  # names of task tokens, from the reserved specials
    transcribe = "<|reserved_141|>"

    [rows.transcripts]                       # each recording with a text beside it
    prompt = "{audio}{transcribe}"
    answer = "{text}"

    [rows.descriptions]                      # a conversation about each picture
    user = "{image}What is this?"
    assistant = "{text}"

    [rows.questions]                         # a conversation for the lines of a table
    table = "questions.csv"                  # columns id, question, answer
    user = "{image}{question}"
    assistant = "{answer}"
    together = true                          # all lines of a picture in one conversation

    [rows.album]                             # documents of four pictures with their captions
    document = "{image}{text}\n"
    join = 4

    [rows.continuation]                      # the recording alone: it goes on as it began
    document = "{audio}"

    [rows.read_along]                        # two to eight words spoken, two to eight written, …
    interleave = "word"                      # or "phrase"
    alignments = "words.jsonl"               # or a .ctm
    turns = [2, 8]

Paths count from the folder of the recipe. `together`, `join`, `seed`, `system` and `table` may be
left out.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError
from dvse.storage.file_hash import file_sha256
from dvse.vocabulary import Vocabulary
from pipelines.composing.alignment import read_alignments
from pipelines.composing.interleaving import Interleaving
from pipelines.composing.table import Table
from pipelines.composing.template_text import MEDIA, TemplateText
from pipelines.composing.templates import (
    ChatTemplate,
    DocumentTemplate,
    InterleaveTemplate,
    PromptTemplate,
    Template,
)

_RESERVED = re.compile(r"<\|reserved_(\d+)\|>")
_KINDS: dict[str, tuple[str, ...]] = {
    "document": ("document", "table", "join"),
    "prompt": ("prompt", "answer", "table"),
    "user": ("user", "assistant", "system", "table", "together"),
    "interleave": ("interleave", "alignments", "turns", "seed"),
}
_TYPES = {"join": int, "seed": int, "together": bool, "turns": list}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe, read and checked.

    Attributes:
        templates: by name, in the order of the file.
        joins: name → rows that stand together in one document.
        tasks: name → reserved special of each task token.
        files: hash (hex) of the recipe and of every file that it names.
    """

    templates: Mapping[str, Template]
    joins: Mapping[str, int]
    tasks: Mapping[str, str]
    files: Mapping[str, str]

    def task_ids(self, vocabulary: Vocabulary) -> dict[str, int]:
        """Return name → id of the task tokens.

        Raises:
            ConfigError: a special that the vocabulary uses already, or does not have.
        """
        specials = vocabulary.blocks[1]
        used = set(vocabulary.special_tokens.values())
        ids: dict[str, int] = {}
        for name, special in self.tasks.items():
            match = _RESERVED.fullmatch(special)
            id = specials.first_id + int(match.group(1)) if match else -1
            if not specials.first_id <= id < specials.stop_id or id in used or id in ids.values():
                free = next(i for i in range(specials.first_id, specials.stop_id) if i not in used)
                raise ConfigError(
                    f"[tasks] {name}: expected a special of its own that the vocabulary does not "
                    f"use, from <|reserved_{free - specials.first_id}|> to "
                    f"<|reserved_{specials.size - 1}|>, received {special!r}"
                )
            ids[name] = id
        return ids


def read_recipe(path: Path) -> Recipe:
    """Read a recipe and the files that it names.

    Raises:
        ConfigError: no such file, no TOML, an unknown key or field, or a table or alignment of
            another form; the place in the file is named.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a recipe in TOML; {error}") from None
    tasks, rows = document.pop("tasks", {}), document.pop("rows", {})
    if document or not isinstance(rows, dict) or not rows:
        raise ConfigError(
            f"{path}: expected tables [rows.NAME] and perhaps [tasks], received "
            f"{', '.join(document) or 'none'}"
        )
    if clash := set(tasks) & {*MEDIA, "text"}:
        raise ConfigError(f"{path}: [tasks] {min(clash)} is the name of a field already")
    reader = _Reader(path, tasks)
    templates = {name: reader.template(name, table) for name, table in rows.items()}
    return Recipe(templates=templates, joins=reader.joins, tasks=tasks, files=reader.files)


class _Reader:
    """Reads the templates of one file, and remembers what it read."""

    def __init__(self, path: Path, tasks: Mapping[str, str]) -> None:
        self._path, self._tasks = path, tasks
        self.joins: dict[str, int] = {}
        self.files = {path.name: file_sha256(path)}

    def template(self, name: str, table: Any) -> Template:
        """Return the template of a table."""
        where = f"{self._path}: [rows.{name}]"
        kind = next((k for k in _KINDS if isinstance(table, dict) and k in table), None)
        if kind is None or not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"{where}: expected one of the keys {', '.join(_KINDS)}")
        for key, value in table.items():
            if key not in _KINDS[kind]:
                raise ConfigError(f"{where} has no {key!r}; it has {', '.join(_KINDS[kind])}")
            wanted = _TYPES.get(key, str)
            if type(value) is not wanted:
                raise ConfigError(f"{where} {key}: expected {wanted.__name__}, received {value!r}")
        if kind == "interleave":
            return InterleaveTemplate(name=name, interleaving=self._interleaving(where, table))
        return self._textual(name, kind, where, table)

    def _textual(self, name: str, kind: str, where: str, table: Mapping[str, Any]) -> Template:
        lines = Table(self._file(table["table"])) if "table" in table else None
        columns = () if lines is None else lines.columns
        known = (*MEDIA, "text", *self._tasks, *columns)

        def text(key: str) -> TemplateText:
            if key not in table:
                raise ConfigError(f"{where}: expected a key {key!r} beside {kind!r}")
            return TemplateText.parse(table[key], known=known, where=f"{where} {key}")

        template: Template
        if kind == "document":
            self.joins[name] = _at_least(1, table.get("join", 1), f"{where} join")
            template = DocumentTemplate(name=name, document=text("document"), table=lines)
        elif kind == "prompt":
            template = PromptTemplate(
                name=name, prompt=text("prompt"), answer=text("answer"), table=lines
            )
        else:
            template = ChatTemplate(
                name=name,
                user=text("user"),
                assistant=text("assistant"),
                system=text("system") if "system" in table else None,
                table=lines,
                is_together=table.get("together", False),
            )
        if len(template.fields & set(MEDIA)) > 1:
            raise ConfigError(f"{where}: a row is one picture or one recording; name one of them")
        if not template.fields & {*MEDIA, "text", *columns}:
            raise ConfigError(f"{where}: expected a field that is filled in from rows, found none")
        return template

    def _interleaving(self, where: str, table: Mapping[str, Any]) -> Interleaving:
        unit = table["interleave"]
        if unit not in ("word", "phrase") or "alignments" not in table:
            raise ConfigError(f"{where}: expected interleave 'word' or 'phrase', and alignments")
        turns = table.get("turns", [1, 1] if unit == "phrase" else [2, 8])
        if [type(n) for n in turns] != [int, int] or not 1 <= turns[0] <= turns[1]:
            raise ConfigError(f"{where} turns: expected [least, most], received {turns}")
        file = self._file(table["alignments"])
        return Interleaving(
            file=file.name,
            alignments=read_alignments(file, unit),
            least=turns[0],
            most=turns[1],
            seed=table.get("seed", 0),
        )

    def _file(self, name: str) -> Path:
        path = self._path.parent / name
        if not path.is_file():
            raise ConfigError(f"{self._path}: expected a file {name!r} beside it, found none")
        self.files[name] = file_sha256(path)
        return path


def _at_least(least: int, value: int, where: str) -> int:
    if value < least:
        raise ConfigError(f"{where}: expected at least {least}, received {value}")
    return value
