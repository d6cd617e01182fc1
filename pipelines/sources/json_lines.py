"""JSONL: every line says what it is by its keys.

    {"messages": […], "images": […]}                  a conversation, and media that stand beside it
    {"audio_filepath": …, "text": …, "offset": …}     NeMo
    {"recording": {"sources": […]}, "start": …, "supervisions": […]}, {"sources": […]}   lhotse
    {"path" | "image" | "audio" | "file_name" …: …}   a media file, caption and label beside it
    {"text": …}                                       a text

Paths count from the folder of the manifest.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO

from dvse.errors import DecodeError, InputError, StorageError
from dvse.remote.address import join, parent_of
from dvse.remote.remote_path import location
from pipelines.sources.conversation import conversation_record
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import extension, media_record
from pipelines.sources.lhotse import lhotse_record
from pipelines.sources.places import file_place
from pipelines.sources.record import ItemRef, Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.stretches import Stretch, stretch_of

_PATH_KEYS = (
    "audio_filepath", "audio_path", "image_path", "file_path", "wav", "path", "image", "audio",
    "file_name", "filename", "file",
)  # fmt: skip
_TEXT_KEYS = ("text", "caption", "transcription", "transcript", "sentence", "label")
_CONVERSATION_KEYS = ("messages", "conversations")


class JsonLinesSource(Source):
    """Lines of a JSONL file, plain or gzipped; empty lines are no inputs."""

    def count(self, entry: Entry) -> int:
        """Return the number of lines that are not empty."""
        with _open(entry.path) as file:
            return sum(1 for line in file if line.strip())

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the lines from number `start` on."""
        folder = parent_of(entry.path)
        number = -1
        with _open(entry.path) as file:
            for at, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                number += 1
                if number >= start:
                    fallback = f"{utf8_name(entry.name)}:{at}"
                    yield _record(line, fallback, f"{utf8_name(entry.path)}:{at}", folder)


def first_line_points_to_files(path: str) -> bool:
    """Whether the first line of a JSONL names a file (rather than holding text itself)."""
    try:
        with _open(path) as file:
            line = next((line for line in file if line.strip()), b"{}")
        found = json.loads(line)
    except StorageError:
        raise
    except (OSError, ValueError, EOFError):
        return False
    return (
        isinstance(found, dict)
        and not any(k in found for k in _CONVERSATION_KEYS)
        and (
            any(k in found for k in ("recording", "sources", "tracks"))
            or any(k in found for k in _PATH_KEYS)
        )
    )


def _record(line: bytes, fallback: str, source: str, folder: str) -> Record:
    try:
        found = json.loads(line)
    except ValueError as error:
        return failed(fallback, source, DecodeError(f"the line is no JSON; {error}"))
    if not isinstance(found, dict):
        return failed(fallback, source, InputError("expected a JSON object in the line"))
    given = found.get("id", found.get("utt_id"))
    id = fallback if given is None else utf8_name(str(given))
    try:
        for name in _CONVERSATION_KEYS:
            if name in found:
                media = _media(found, folder)
                return conversation_record(found[name], id, source, folder, media)
        if "recording" in found or "sources" in found or "tracks" in found:
            return lhotse_record(found, id, source, folder)
        key = next((k for k in _PATH_KEYS if isinstance(found.get(k), str)), None)
        if key is not None:
            path = join(folder, found[key])
            stretch = stretch_of(found)
            return media_record(
                id=id if given is not None else utf8_name(found[key]),
                path=path,
                source=utf8_name(path) if stretch == Stretch() else source,
                text=_text(found),
                stretch=stretch,
            )
        if isinstance(found.get("text"), str):
            return Record(id=id, source=source, refs=(ItemRef.of_text(found["text"]),))
        raise InputError(
            f"expected messages, a path or text in the line, received the keys {sorted(found)}"
        )
    except InputError as error:
        return failed(id, source, error)


def _media(found: Mapping[str, Any], folder: str) -> list[ItemRef]:
    """Files that stand beside a conversation, as LLaVA's `image` and others' `images` name them."""
    refs = []
    for key in ("image", "images", "audio", "audios"):
        value = found.get(key)
        for path in value if isinstance(value, list) else [value] if value else []:
            if not isinstance(path, str):
                raise InputError(f"expected paths in {key!r}, received {type(path).__name__}")
            place = file_place(join(folder, path))
            refs.append(ItemRef(kind="image" if key.startswith("i") else "audio", place=place))
    return refs


def _text(found: Mapping[str, Any]) -> str | None:
    value = next((found[k] for k in _TEXT_KEYS if found.get(k) is not None), None)
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    ItemRef.of_text(text)  # refuse what a shard could not hold
    return text


class _Unzipped(gzip.GzipFile):
    """Reads a compressed file, and closes it with itself."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._compressed = file

    def close(self) -> None:
        super().close()
        self._compressed.close()


def _open(path: str) -> IO[bytes]:
    file = location(path).open("rb")
    if extension(path).endswith(".gz"):
        return _Unzipped(file)  # type: ignore[return-value]
    return file
