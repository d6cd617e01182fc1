"""One input as sources describe it: `Record`, its `ItemRef`s, and the place where bytes lie.

Records are small and picklable, they travel to the decode workers. A record that is known to be
impossible (a broken line, an unknown extension) carries a `Failure` instead of references, so that
nothing is ever left out silently.
"""

# ruff: noqa: PTH116
# Paths stay strings: they come by the million, and os.path is several times faster.

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dvse.errors import DecodeError, InputError, MissingFileError, UnreadableFileError

ItemKind = Literal["text", "image", "audio", "special"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an input gave no row.

    Attributes:
        stage: `list` (finding inputs), `read`, `decode`, `encode`.
        type: name of the exception.
        reason: one sentence.
    """

    stage: str
    type: str
    reason: str

    @classmethod
    def of(cls, stage: str, error: BaseException) -> "Failure":
        r"""Describe an exception in one line.

        >>> Failure.of("read", ValueError("no\nway")).reason
        'no way'
        """
        reason = " ".join(str(error).split()) or type(error).__name__
        return cls(stage=stage, type=type(error).__name__, reason=utf8_name(reason)[:2000])


class Place(ABC):
    """Where the bytes of one item lie."""

    @property
    @abstractmethod
    def path(self) -> str | None:
        """The file that holds exactly these bytes, `None` where there is none."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are read, of those that no container holds."""
        return () if self.path is None else (self.path,)

    @property
    def name(self) -> str:
        """What the bytes are called where they lie: a path, the name of a member, or nothing."""
        return self.path or ""

    @abstractmethod
    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            InputError: they cannot be had.
        """


@dataclass(frozen=True, slots=True)
class FilePlace(Place):
    """A whole file."""

    file: str

    @property
    def path(self) -> str | None:
        """The file."""
        return self.file

    def size(self) -> int:
        """Return the size in bytes of the regular file.

        Raises:
            InputError: it is missing, unreadable, or no regular file (a pipe would block forever).
        """
        try:
            info = os.stat(self.file)
        except FileNotFoundError:
            raise MissingFileError(f"{utf8_name(self.file)}: no such file") from None
        except (OSError, ValueError) as error:
            raise _unreadable(self.file, error) from None
        if not stat.S_ISREG(info.st_mode):
            raise UnreadableFileError(
                f"{utf8_name(self.file)}: expected a regular file, received a "
                f"{_kind_of(info.st_mode)}"
            )
        return info.st_size

    def read(self) -> bytes:
        """Read the file."""
        self.size()
        try:
            return Path(self.file).read_bytes()
        except OSError as error:
            raise _unreadable(self.file, error) from None


@dataclass(frozen=True, slots=True)
class MemberPlace(Place):
    """Bytes that are no file of their own, under the name that they have where they lie."""

    member: str = field(default="", kw_only=True)

    @property
    def path(self) -> str | None:
        """None: no file holds exactly these bytes."""
        return None

    @property
    def name(self) -> str:
        """The name of the member."""
        return self.member


@dataclass(frozen=True, slots=True)
class SlicePlace(MemberPlace):
    """A range of a file: a member of an uncompressed tar."""

    file: str
    offset: int
    num_bytes: int

    def read(self) -> bytes:
        """Read the range."""
        try:
            with Path(self.file).open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.num_bytes)
        except FileNotFoundError:
            raise MissingFileError(f"{utf8_name(self.file)}: no such file") from None
        except OSError as error:
            raise _unreadable(self.file, error) from None
        if len(data) < self.num_bytes:
            raise DecodeError(
                f"{utf8_name(self.file)}: expected {self.num_bytes} bytes at {self.offset}, "
                f"received {len(data)}; the archive is cut short"
            )
        return data


@dataclass(frozen=True, slots=True)
class HeldPlace(MemberPlace):
    """Bytes that travel with the record."""

    data: bytes

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRef:
    """One item of a row.

    Attributes:
        kind: what the bytes are; `special` holds the name of a special token.
        place: where they lie.
        start_s, duration_s: the stretch of a recording that is meant, where not all of it.
        channels: which of its channels, where not all.
        pcm: what raw samples without a header are, as `dvse.Audio` takes it.
        max_pixels: the limit of a picture, where it is not the bundle's.
    """

    kind: ItemKind
    place: Place
    start_s: float | None = None
    duration_s: float | None = None
    channels: tuple[int, ...] | None = None
    pcm: str | None = None
    max_pixels: int | None = None

    @classmethod
    def of_text(cls, text: str, kind: ItemKind = "text") -> "ItemRef":
        """Refer to a string that is at hand.

        Raises:
            InputError: the string holds a lone surrogate, which UTF-8 cannot hold.
        """
        try:
            return cls(kind=kind, place=HeldPlace(text.encode("utf-8")))
        except UnicodeEncodeError as error:
            raise DecodeError(
                f"expected text that UTF-8 can hold, received {text[error.start]!a} at "
                f"position {error.start}"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One input: one row, or one line of `errors.jsonl`.

    Attributes:
        id: its name, as the source gives it (the job makes names unique).
        source: where it lies, for people: a path, or `archive.tar#member`.
        refs: its items in order; empty where `failure` says why there are none.
        text: caption or label that stands beside the media.
        is_answer: in conversations, for each item, whether a decoder should learn to produce it.
        failure: why it cannot be read, where that is known already.
        unused: fields of its line that are not known here and change nothing.
    """

    id: str
    source: str
    refs: tuple[ItemRef, ...] = ()
    text: str | None = None
    is_answer: tuple[bool, ...] | None = None
    failure: Failure | None = None
    unused: tuple[str, ...] = ()

    def renamed(self, id: str) -> "Record":
        """Return the record under another name."""
        return self if id == self.id else replace(self, id=id)


def failed(id: str, source: str, error: BaseException, *, stage: str = "list") -> Record:
    """Return the record of an input that cannot be read."""
    return Record(id=id, source=source, failure=Failure.of(stage, error))


def utf8_name(name: str) -> str:
    r"""Return a name that UTF-8 can hold, from which the original can be told.

    Bytes that are no UTF-8 become `%XX`; in such a name `%` becomes `%25`.

    >>> utf8_name("caf\udce9 50%.jpg"), utf8_name("50%.jpg")
    ('caf%E9 50%25.jpg', '50%.jpg')
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(
            f"%{ord(c) - 0xDC00:02X}"
            if 0xDC80 <= ord(c) <= 0xDCFF
            else "%25"
            if c == "%"
            else f"%u{ord(c):04X}"
            if 0xD800 <= ord(c) <= 0xDFFF
            else c
            for c in name
        )
    return name


def _unreadable(path: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return UnreadableFileError(f"{utf8_name(path)}: cannot be read ({reason})")


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "directory",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
