"""Rows of a table with media columns → records; shared by Parquet files and `datasets`.

A media column is a Hugging Face `Image` or `Audio` feature, or looks like one: a struct of
`bytes` and `path`, or bytes under a telling name. A row becomes its media columns in order, or
what the template says; a caption or label column travels along as text. A table without media is
read as text or as conversations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dvse.errors import DecodeError, InputError
from dvse.remote.address import STORES, is_address, join, scheme_of
from pipelines.sources.conversation import conversation_record
from pipelines.sources.places import file_place
from pipelines.sources.record import HeldPlace, ItemRef, Record, failed
from pipelines.sources.sniffing import bytes_of_base64, kind_of_bytes, kind_of_name
from pipelines.sources.stretches import Stretch, is_about_media, stretch_of
from pipelines.sources.template import Template

TEXT_COLUMNS = (
    "caption", "text", "transcription", "transcript", "sentence", "content", "label", "class",
)  # fmt: skip
ID_COLUMNS = ("id", "__key__", "key", "utt_id", "image_id", "uid")
CONVERSATION_COLUMNS = ("messages", "conversations")
_LABELS = ("label", "class")


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """Which column of a table is what.

    Attributes:
        media: column → `image` or `audio`, in the order of the table.
        text: caption, label or text column.
        id: column of names.
        conversation: column of messages.
        label_names: label column → names of its numbers.
        paths: media column → names from the top, where it lies inside structs.
        columns: all columns.
        names_files: whether media are named that lie elsewhere.
    """

    media: Mapping[str, str]
    text: str | None
    id: str | None
    conversation: str | None
    columns: Sequence[str]
    label_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    paths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names_files: bool = False

    @classmethod
    def of(
        cls,
        columns: Sequence[str],
        media: Mapping[str, str],
        label_names: Mapping[str, Sequence[str]],
        paths: Mapping[str, Sequence[str]] | None = None,
        *,
        names_files: bool = False,
    ) -> "TableLayout":
        """Choose the columns by their names.

        Raises:
            InputError: neither media nor text nor conversations.
        """
        taken = {(paths or {}).get(name, [name])[0] for name in media}
        lower = {c.lower(): c for c in reversed(columns) if c not in taken}
        text = next((lower[n] for n in TEXT_COLUMNS if n in lower), None)
        conversation = next((lower[n] for n in CONVERSATION_COLUMNS if n in lower), None)
        if not media and conversation is None and (text is None or text.lower() in _LABELS):
            raise InputError(
                "expected an Image or Audio column, a text column or messages, received the "
                f"columns {list(columns)}; name the columns with --template"
            )
        return cls(
            media=media,
            text=text,
            id=next((lower[n] for n in ID_COLUMNS if n in lower), None),
            conversation=conversation,
            columns=columns,
            label_names=label_names,
            paths=paths or {},
            names_files=names_files,
        )

    def needed(self, template: Template | None) -> list[str]:
        """Return the columns that have to be read."""
        named = {name for _, name in template.pieces} if template else set()
        media = {self.paths.get(name, [name])[0] for name in self.media}
        wanted = {*media, self.text, self.id, self.conversation, *named, *self._about_files()}
        return [c for c in self.columns if c in wanted]

    def unused(self, template: Template | None) -> frozenset[str]:
        """Return the columns that are not read."""
        return frozenset(self.columns) - {*self.needed(template)}

    def _about_files(self) -> Sequence[str]:
        """The columns that may say which part of a named file is meant, as manifests have them.

        Beside embedded bytes they say where those were cut from.
        """
        taken = {self.paths.get(name, [name])[0] for name in self.media}
        others = [c for c in self.columns if c not in {*taken, self.text, self.id}]
        return [c for c in others if is_about_media(c)] if self.names_files else ()

    def record(
        self,
        row: Mapping[str, Any],
        *,
        fallback_id: str,
        source: str,
        folder: str,
        template: Template | None,
    ) -> Record:
        """Return the record of one row; what is wrong with it becomes its failure."""
        given = row.get(self.id) if self.id else None
        id = fallback_id if given is None else str(given)
        try:
            if self.conversation is not None and template is None:
                media = self._media(row, folder)
                return conversation_record(row[self.conversation], id, source, folder, media)
            text = self._string(row, self.text)
            if template is not None:
                refs = template.fill(self._fields(row, folder, template))
            elif self.media:
                refs = self._media(row, folder, is_needed=True)
                refs = _cut(refs, stretch_of({c: row[c] for c in self._about_files()}))
            elif text is None:
                raise DecodeError(f"column {self.text!r} is null")
            else:
                return Record(id=id, source=source, refs=(ItemRef.of_text(text),))
            if text is not None:
                ItemRef.of_text(text)  # refuse what a shard could not hold
        except InputError as error:
            return failed(id, source, error, stage="read")
        return Record(id=id, source=source, refs=refs, text=text)

    def _media(
        self, row: Mapping[str, Any], folder: str, *, is_needed: bool = False
    ) -> tuple[ItemRef, ...]:
        """All media of a row, in the order of the columns."""
        return tuple(
            ref
            for column, kind in self.media.items()
            if is_needed or self._value(row, column)
            for ref in _media(self._value(row, column), column, kind, folder)
        )

    def _value(self, row: Mapping[str, Any], column: str) -> Any:
        value: Any = row
        for name in self.paths.get(column, [column]):
            value = _inside(value, name)
        return value

    def _fields(
        self, row: Mapping[str, Any], folder: str, template: Template
    ) -> dict[str, tuple[ItemRef, ...]]:
        """The parts that a template may name; only the named ones are looked at."""
        named = {name for _, name in template.pieces if name}
        fields: dict[str, tuple[ItemRef, ...]] = {}
        for column, kind in self.media.items():
            for name in {column, kind} & named:
                found = _media(self._value(row, column), column, kind, folder)
                fields[name] = (*fields.get(name, ()), *found)
        for column in set(self.columns) - set(self.media):
            names = {column, "text"} if column == self.text else {column}
            if names & named and (value := self._string(row, column)) is not None:
                fields |= {name: (ItemRef.of_text(value),) for name in names}
        return fields

    def _string(self, row: Mapping[str, Any], column: str | None) -> str | None:
        value = row.get(column) if column else None
        if value is None or column is None:
            return None
        names = self.label_names.get(column)
        if names and isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        if isinstance(value, list):
            return "\n".join(str(v) for v in value)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return value if isinstance(value, str) else str(value)


def _cut(refs: tuple[ItemRef, ...], stretch: Stretch) -> tuple[ItemRef, ...]:
    """The files of a row, of which a part may be meant.

    Raises:
        InputError: it cannot be.
    """
    if stretch == Stretch():
        return refs
    if len(refs) > 1:
        raise InputError("a stretch or channel of several files; give each a row")
    if refs[0].kind != "audio":
        if stretch.start_s is None:
            return refs
        raise InputError("only recordings have an offset and a duration")
    return (
        replace(
            refs[0],
            start_s=stretch.start_s,
            duration_s=stretch.duration_s,
            channels=stretch.channels,
        ),
    )


def _inside(value: Any, name: str) -> Any:
    """A field of a struct; of a list of structs the list of that field."""
    if isinstance(value, list):
        return [_inside(v[1] if isinstance(v, tuple) else v, name) for v in value]
    return value.get(name) if isinstance(value, Mapping) else None


def _media(value: Any, column: str, kind: str, folder: str) -> tuple[ItemRef, ...]:
    values = list(_flat(value))
    if not values:
        raise DecodeError(f"column {column!r} is empty")
    return tuple(_one_media(v, column, kind, folder) for v in values)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one[1] if isinstance(one, tuple) else one)  # an item of a map
    else:
        yield value


def _one_media(value: Any, column: str, kind: str, folder: str) -> ItemRef:
    data, path = value, None
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
    elif isinstance(value, str):
        data = bytes_of_base64(value)
        path = None if data is not None else value
    if data is not None:
        kind = kind_of_bytes(data) or kind
        place = HeldPlace(bytes(data), member=path if isinstance(path, str) else "")
        return ItemRef(kind=kind, place=place)  # type: ignore[arg-type]
    if path:
        if is_address(path) and scheme_of(path) not in STORES:
            raise DecodeError(f"column {column!r}: {path} is an address, which is not fetched")
        kind = kind_of_name(path) or kind
        return ItemRef(kind=kind, place=file_place(join(folder, path)))  # type: ignore[arg-type]
    raise DecodeError(f"column {column!r} is null")
