"""Reading the bytes of a record and making items of them; runs in the decode workers.

Everything is read once and hashed. Only long recordings stay on disk (from a store they are copied
to one), where they are read in ranges while they are encoded.
"""

import hashlib
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.audio.pcm_format import is_headerless, undeclared
from dvse.errors import DecodeError, InputError, TooLargeError
from dvse.items import Audio, Image, Item, Special, Text
from pipelines.sources.places import RemotePlace
from pipelines.sources.record import FilePlace, ItemRef, Record, utf8_name

_HELD_AUDIO = 32 << 20
_LARGEST_TEXT = 64 << 20
_LARGEST_IMAGE = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What is known of an input besides its chunks.

    Attributes:
        sha256: hash (hex) of its bytes; of several items, the hash of their hashes in order; of a
            part of a recording, the hash of both.
        is_answer: in conversations, for each item, whether it carries loss.
    """

    id: str
    source: str
    sha256: str
    text: str | None = None
    is_answer: tuple[bool, ...] | None = None


def load(record: Record) -> tuple[Loaded, tuple[Item, ...]]:
    """Return what is known of a record and its items.

    Raises:
        InputError: something is missing, unreadable, empty or too large.
    """
    items: list[Item] = []
    digests: list[str] = []
    for ref in record.refs:
        item, digest = _load_ref(ref, record.source)
        items.append(item)
        if digest is not None:
            digests.append(digest)
    single = len(digests) == 1
    sha256 = digests[0] if single else hashlib.sha256("".join(digests).encode()).hexdigest()
    loaded = Loaded(
        id=record.id,
        source=record.source,
        sha256=sha256,
        text=record.text,
        is_answer=record.is_answer,
    )
    return loaded, tuple(items)


def _load_ref(ref: ItemRef, source: str) -> tuple[Item, str | None]:
    if ref.kind == "special":
        return Special(ref.place.read().decode()), None
    if ref.kind == "audio":
        return _load_audio(ref, _name(ref, source))
    limit = _LARGEST_TEXT if ref.kind == "text" else _LARGEST_IMAGE
    if isinstance(ref.place, FilePlace) and (size := ref.place.size()) > limit:
        raise TooLargeError(
            f"{utf8_name(ref.place.file)}: expected at most {limit >> 20} MiB, received "
            f"{size >> 20} MiB; cut it into pieces"
        )
    data, name = ref.place.read(), _name(ref, source)
    digest = hashlib.sha256(data).hexdigest()
    if ref.kind == "image":
        _refuse_empty(ref.kind, name, len(data))
        return Image(data, max_pixels=ref.max_pixels, name=name), digest
    if isinstance(ref.place, FilePlace):
        _refuse_empty(ref.kind, name, len(data))
    try:
        return Text(data.decode("utf-8")), digest
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"{name}: expected UTF-8 text, received byte 0x{data[error.start]:02X} at "
            f"{error.start}; convert the file to UTF-8"
        ) from None


def _name(ref: ItemRef, source: str) -> str:
    return utf8_name(ref.place.path or source)


def _load_audio(ref: ItemRef, name: str) -> tuple[Item, str]:
    path = ref.place.path
    is_kept = isinstance(ref.place, FilePlace) and ref.place.size() > _HELD_AUDIO
    if is_kept:
        source: Any = ref.place.on_disk() if isinstance(ref.place, RemotePlace) else path
        with Path(source).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        source = ref.place.read()
        _refuse_empty(ref.kind, name, len(source))
        digest = hashlib.sha256(source).hexdigest()
    start = b"" if is_kept else bytes(source[:16])
    if ref.pcm is None and not is_kept and is_headerless(ref.place.name, start):
        raise undeclared(name)
    audio = Audio(source, pcm=ref.pcm, name=name)
    if is_kept and isinstance(ref.place, RemotePlace):
        weakref.finalize(audio, Path(source).unlink, missing_ok=True)
    meant = (ref.start_s, ref.duration_s, ref.channels)
    if ref.pcm is None and meant == (None, None, None):
        return audio, digest
    # The same bytes are another input where another part of them, or another format, is meant.
    digest = hashlib.sha256(f"{digest} {meant} {ref.pcm}".encode()).hexdigest()
    if meant == (None, None, None):
        return audio, digest
    from dvse.audio.stretch import read_stretch

    return read_stretch(
        audio, start_s=ref.start_s, duration_s=ref.duration_s, channels=ref.channels
    ), digest


def _refuse_empty(kind: str, name: str, size: int) -> None:
    if size == 0:
        raise DecodeError(f"{name}: the {kind} file is empty")


def stage_of(error: BaseException, *, loaded: bool) -> str:
    """Return the stage that an exception in a decode worker belongs to."""
    return "decode" if loaded or not isinstance(error, InputError | OSError) else "read"
