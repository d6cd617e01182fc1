"""One JSON array of objects, element by element: how LLaVA, ShareGPT and COCO's kin are shipped.

Read a block at a time, since such files have gigabytes; an element is held, never the array.
"""

import codecs
import json
from collections.abc import Iterator
from itertools import count
from typing import BinaryIO

from dvse.errors import DecodeError

_BLOCK = 1 << 16
_LARGEST_ELEMENT = 1 << 26
_SPACES = " \t\r\n"
_BEHIND = tuple(f"{_SPACES},]")
_DECODER = json.JSONDecoder()


def is_array_of_objects(file: BinaryIO) -> bool:
    """Whether an array begins in a file, and an object in it. Leaves the file at its start.

    >>> import io
    >>> is_array_of_objects(io.BytesIO(b' [ {"text": "a"}]')), is_array_of_objects(io.BytesIO(b"{"))
    (True, False)
    """
    start = file.read(_BLOCK)
    file.seek(0)
    return start.removeprefix(b"\xef\xbb\xbf").translate(None, _SPACES.encode())[:2] == b"[{"


def elements(file: BinaryIO) -> Iterator[str]:
    r"""Yield the elements of an array as they are written.

    Raises:
        DecodeError: no UTF-8, no JSON, or something behind the array; behind the elements before.

    >>> import io
    >>> list(elements(io.BytesIO(b'[{"a": [1]},\n {"b": "}"}]')))
    ['{"a": [1]}', '{"b": "}"}']
    """
    text = _Text(file)
    text.expect("[")
    for number in count(1):
        yield text.element(number)
        if text.next_sign() == "]":
            break
        text.expect(",")
    text.expect("]")
    if text.next_sign():
        raise DecodeError("more follows behind the end of the JSON array; one value is expected")


class _Text:
    """What has been read of the file, and how far it was used."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._is_all = "", 0, False

    def next_sign(self) -> str:
        """Return the next character that is no space, without taking it; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACES:
                self._at += 1
            if self._at < len(self._text) or self._is_all:
                return self._text[self._at : self._at + 1]
            self._read(_BLOCK)

    def expect(self, sign: str) -> None:
        """Take a character.

        Raises:
            DecodeError: it is another one.
        """
        found = self.next_sign()
        if found != sign:
            raise DecodeError(
                f"the JSON array breaks off: expected {sign!r}, received "
                + (repr(found) if found else "its end")
            )
        self._at += 1

    def element(self, number: int) -> str:
        """Take one value.

        Raises:
            DecodeError: there is none, or one of more than 64 MiB.
        """
        self.next_sign()
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                held = len(self._text) - self._at
                if self._is_all or held > _LARGEST_ELEMENT or isinstance(error, RecursionError):
                    raise DecodeError(f"element {number} of the array; {error}") from None
                self._read(max(_BLOCK, held))  # twice as much each time: it is parsed anew
                continue
            follows, is_open = self._text[end : end + 1], self._text[self._at] in "{["
            if not is_open and follows not in _BEHIND and not self._is_all:
                self._read(_BLOCK)  # a number goes on
                continue
            found, self._at = self._text[self._at : end], end
            return found

    def _read(self, size: int) -> None:
        try:
            block = self._file.read(size)
            self._is_all = not block
            text = self._decoder.decode(block, final=self._is_all)
        except UnicodeDecodeError as error:
            raise DecodeError(f"the JSON array is no UTF-8; {error}") from None
        self._text, self._at = self._text[self._at :] + text, 0
