"""Functions told to the model, and its calls read back from the text that it writes.

What a call looks like is `answer_form`'s; there it is forced, here it is described and read. Calls
come in pieces, so that a client can follow the arguments as they are written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from pipelines.server.answers.answer_form import CALL, END_CALL

_ARGUMENTS = '"arguments": '


@dataclass(frozen=True, kw_only=True)
class DescribedFunction:
    """A function as the model is told of it."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class CallPiece:
    """A piece of a call.

    Attributes:
        index: which call.
        name: on the first piece of a call.
        arguments: JSON, perhaps none yet.
    """

    index: int
    name: str | None = None
    arguments: str = ""


@dataclass(kw_only=True)
class Call:
    """A call that was read."""

    name: str
    arguments: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer read whole: its text and its calls."""

    text: str
    calls: list[Call] = field(default_factory=list)


def tools_told(functions: Sequence[DescribedFunction]) -> str:
    """Return what the model is told before the conversation."""
    lines = []
    for function in functions:
        entry: dict[str, Any] = {"name": function.name, "description": function.description}
        entry |= {"parameters": function.parameters}
        kept = {k: v for k, v in entry.items() if v is not None}
        lines.append(json.dumps(kept, ensure_ascii=False))
    example = call_written("NAME", "{…}")
    return "Functions that may be called:\n{}\nA call is written {}".format(
        "\n".join(lines), example
    )


def call_written(name: str, arguments: str) -> str:
    """Return a call as the model writes it.

    >>> call_written("weather", '{"city":"Graz"}')
    '<tool_call>{"name": "weather", "arguments": {"city":"Graz"}}</tool_call>'
    """
    return f'{CALL}{{"name": {json.dumps(name)}, {_ARGUMENTS}{arguments}}}{END_CALL}'


class _State(Enum):
    TEXT = auto()
    HEAD = auto()
    ARGUMENTS = auto()
    TAIL = auto()


class CallReader:
    """Tells text and calls apart as they come.

    >>> reader = CallReader()
    >>> reader.push("Hi <to"), reader.push("day")
    (['Hi '], ['<today'])
    >>> [p.name or p.arguments for p in reader.push(call_written("f", '{"a": "}')[:-13])]
    ['f', '{"a": "}']
    >>> [p.arguments for p in reader.push('"}}</tool_call>')], reader.finish()
    (['"}'], [])
    """

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._held = ""
        self._index = -1
        self._end = _ObjectEnd()

    def push(self, text: str) -> list[str | CallPiece]:
        """Take more text and return what is certain."""
        self._held += text
        pieces: list[str | CallPiece] = []
        while self._step(pieces):
            pass
        return pieces

    def finish(self) -> list[str | CallPiece]:
        """Return what was held back."""
        held, self._held = self._held, ""
        return [held] if held and self._state is _State.TEXT else []

    def _step(self, pieces: list[str | CallPiece]) -> bool:
        match self._state:
            case _State.TEXT:
                return self._read_text(pieces)
            case _State.HEAD:
                return self._read_head(pieces)
            case _State.ARGUMENTS:
                return self._read_arguments(pieces)
            case _State.TAIL:
                if END_CALL not in self._held:
                    return False
                self._held = self._held.partition(END_CALL)[2]
                self._state = _State.TEXT
                return True

    def _read_text(self, pieces: list[str | CallPiece]) -> bool:
        before, mark, after = self._held.partition(CALL)
        if mark:
            self._held, self._state = after, _State.HEAD
        else:
            keep = next((n for n in range(len(CALL), 0, -1) if before.endswith(CALL[:n])), 0)
            self._held = before[len(before) - keep :]
            before = before[: len(before) - keep]
        if before:
            pieces.append(before)
        return bool(mark)

    def _read_head(self, pieces: list[str | CallPiece]) -> bool:
        head, mark, after = self._held.partition(_ARGUMENTS)
        if not mark:
            return False
        self._index += 1
        name = json.loads(head.strip().removesuffix(",") + "}")["name"]
        pieces.append(CallPiece(index=self._index, name=name))
        self._held, self._state, self._end = after, _State.ARGUMENTS, _ObjectEnd()
        return True

    def _read_arguments(self, pieces: list[str | CallPiece]) -> bool:
        stop = self._end.find(self._held)
        found, self._held = self._held[:stop], self._held[stop:]
        if found:
            pieces.append(CallPiece(index=self._index, arguments=found))
        if not self._end.is_over:
            return False
        self._state = _State.TAIL
        return True


class _ObjectEnd:
    """Finds where a JSON object that comes in pieces ends."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_quoted = self._is_escaped = False
        self.is_over = False

    def find(self, text: str) -> int:
        for at, character in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._is_quoted:
                self._is_escaped = character == "\\"
                self._is_quoted = character != '"'
            elif character == '"':
                self._is_quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.is_over = True
                    return at + 1
        return len(text)


def read_reply(text: str) -> Reply:
    """Return a whole answer's text and calls.

    >>> read_reply(call_written("f", "{}"))
    Reply(text='', calls=[Call(name='f', arguments='{}')])
    """
    reader = CallReader()
    words, calls = "", []
    for piece in [*reader.push(text), *reader.finish()]:
        if isinstance(piece, str):
            words += piece
        elif piece.name is not None:
            calls.append(Call(name=piece.name))
        else:
            calls[piece.index].arguments += piece.arguments
    return Reply(text=words, calls=calls)
