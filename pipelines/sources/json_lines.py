"""JSONL, or one JSON array: every object says what it is by its keys.

    {"messages": […], "images": […]}                  a conversation, and media that stand beside it
    {"audio_filepath": …, "text": …, "offset": …}     NeMo
    {"recording": {"sources": […]}, "start": …, "supervisions": […]}, {"sources": […]}   lhotse
    {"path" | "image" | "audio" | "file_name" …: …}   a media file, caption and label beside it
    {"text": …}                                       a text

Paths count from the folder of the manifest.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from dvse.errors import DecodeError, InputError, StorageError
from dvse.remote.address import join, parent_of
from dvse.remote.remote_path import location
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.conversation import conversation_record
from pipelines.sources.entry import Entry
from pipelines.sources.json_array import elements, is_array_of_objects
from pipelines.sources.kinds import extension
from pipelines.sources.lhotse import is_lhotse, lhotse_record
from pipelines.sources.manifest_row import path_fields, row_record
from pipelines.sources.named_media import media_in, names_media
from pipelines.sources.places import file_place
from pipelines.sources.record import ItemRef, Record, failed, utf8_name
from pipelines.sources.source import Source

_CONVERSATION_KEYS = ("messages", "conversations")
_MEDIA_KEYS = ("image", "images", "audio", "audios")
_ID_KEYS = ("id", "utt_id")


class JsonLinesSource(Source):
    """Lines of a JSONL file or elements of an array, plain or gzipped; empty lines are no inputs.

    An array that breaks off is one failed input behind those before.
    """

    def contents(self, entry: Entry) -> Contents:
        """Return the lines that are not empty."""
        return contents_of(self.records(entry))

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the lines from number `start` on."""
        folder, paths = parent_of(entry.path), path_fields(entry.path)
        name, path = utf8_name(entry.name), utf8_name(entry.path)
        with _open(entry.path) as file:
            try:
                for number, (at, line) in enumerate(_objects(file)):
                    if number >= start:
                        yield _record(line, f"{name}:{at}", f"{path}:{at}", folder, paths)
            except DecodeError as error:
                yield failed(f"{name}#end", path, error)


def holds_objects(path: str) -> bool:
    """Whether a `.json` holds an object a line, as NeMo's manifests do, or an array of them."""
    return _first_object(path) is not None


def first_object_points_to_files(path: str) -> bool:
    """Whether the first object names a file (rather than holding text itself)."""
    found = _first_object(path)
    return (
        found is not None
        and not any(k in found for k in _CONVERSATION_KEYS)
        and (is_lhotse(found) or names_media(found))
    )


def _first_object(path: str) -> dict[str, Any] | None:
    try:
        with _open(path) as file:
            found = json.loads(next((line for _, line in _objects(file)), b""))
    except StorageError:
        raise
    except (OSError, ValueError, EOFError, RecursionError, DecodeError):
        return None
    return found if isinstance(found, dict) else None


def _objects(file: BinaryIO) -> Iterator[tuple[int, str | bytes]]:
    """Yield the number from 1 and the text of each line that is not empty, or of each element.

    Raises:
        DecodeError: an array breaks off.
    """
    numbered: Iterator[tuple[int, str | bytes]]
    if is_array_of_objects(file):
        numbered = enumerate(elements(file), start=1)
    else:
        numbered = ((at, line) for at, line in enumerate(file, start=1) if line.strip())
    yield from numbered


def _record(
    line: str | bytes, fallback: str, source: str, folder: str, paths: Sequence[str]
) -> Record:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return failed(fallback, source, DecodeError(f"the line is no JSON; {error}"))
    if not isinstance(found, dict):
        return failed(fallback, source, InputError("expected a JSON object in the line"))
    given = next((found[key] for key in _ID_KEYS if key in found), None)
    id = fallback if given is None else utf8_name(str(given))
    try:
        for name in _CONVERSATION_KEYS:
            if name in found:
                media = _media(found, folder)
                record = conversation_record(found[name], id, source, folder, media)
                unused = _others(found, (name, *_MEDIA_KEYS))
                _refuse_media({key: found[key] for key in unused})
                return replace(record, unused=unused)
        if is_lhotse(found):
            return lhotse_record(found, id, source, folder)
        row = row_record(found, folder=folder, fallback_id=fallback, source=source, paths=paths)
        if row is not None:
            return row
        if isinstance(found.get("text"), str):
            refs = (ItemRef.of_text(found["text"]),)
            return Record(id=id, source=source, refs=refs, unused=_others(found, ("text",)))
        raise InputError(
            f"expected messages, a path or text in the line, received the keys {sorted(found)}"
        )
    except InputError as error:
        return failed(id, source, error)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # A line of an odd shape must not cost the others.
        problem = InputError(f"the line is not of a form that is known; {error}")
        return failed(id, source, problem)


def _others(found: Mapping[str, Any], used: Sequence[str]) -> tuple[str, ...]:
    return tuple(key for key in found if key not in (*used, *_ID_KEYS))


def _refuse_media(beside: Mapping[str, Any]) -> None:
    """Refuse media beside a conversation that are under no name that is known.

    Raises:
        InputError: which, and what to call it.
    """
    for key, value in beside.items():
        if names := media_in(value, key):
            raise InputError(
                f"the field {key!r} names {names[0]} beside the conversation; call it one of "
                f"{', '.join(_MEDIA_KEYS)}, or leave it out"
            )


def _media(found: Mapping[str, Any], folder: str) -> list[ItemRef]:
    """Files that stand beside a conversation, as LLaVA's `image` and others' `images` name them."""
    refs = []
    for key in _MEDIA_KEYS:
        value = found.get(key)
        for path in value if isinstance(value, list) else [value] if value else []:
            if not isinstance(path, str):
                raise InputError(f"expected paths in {key!r}, received {type(path).__name__}")
            place = file_place(join(folder, path))
            refs.append(ItemRef(kind="image" if key.startswith("i") else "audio", place=place))
    return refs


class _Unzipped(gzip.GzipFile):
    """Reads a compressed file, and closes it with itself."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._compressed = file

    def close(self) -> None:
        super().close()
        self._compressed.close()


def _open(path: str) -> BinaryIO:
    file = location(path).open("rb")
    if extension(path).endswith(".gz"):
        return _Unzipped(file)  # type: ignore[return-value]
    return file
