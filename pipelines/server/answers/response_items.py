"""The deltas of an answer to the items and events of `/v1/responses`.

    response.created · in_progress · (an item: added, deltas, done)* · completed | incomplete

Items are what the model thought, what it says, and the calls that it makes. An event carries its
number; every item is told again whole when it is done, and all of them at the end.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from pipelines.server.answers.answer_stream import Delta
from pipelines.server.answers.tool_calls import CallPiece, CallReader
from pipelines.server.schemas.base import Usage
from pipelines.server.schemas.responses import IncompleteDetails, Response, ResponsesUsage

Event = dict[str, Any]


class _Item(ABC):
    """One item that grows."""

    def __init__(self, index: int, prefix: str) -> None:
        self.index, self.id = index, f"{prefix}_{uuid.uuid4().hex}"
        self.words = ""

    @abstractmethod
    def document(self, status: str) -> dict[str, Any]:
        """Return the item as it is now."""

    @abstractmethod
    def opened(self) -> list[Event]: ...

    @abstractmethod
    def grown(self, words: str) -> Event: ...

    @abstractmethod
    def closed(self) -> list[Event]: ...

    def place(self, kind: str, **more: Any) -> Event:
        return {"type": kind, "item_id": self.id, "output_index": self.index} | more


class _Message(_Item):
    def __init__(self, index: int) -> None:
        super().__init__(index, "msg")

    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self.words, "annotations": [], "logprobs": []}

    def document(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" and not self.words else [self._part()]
        entry = {"id": self.id, "type": "message", "role": "assistant", "status": status}
        return entry | {"content": content}

    def opened(self) -> list[Event]:
        return [self.place("response.content_part.added", content_index=0, part=self._part())]

    def grown(self, words: str) -> Event:
        return self.place("response.output_text.delta", content_index=0, delta=words, logprobs=[])

    def closed(self) -> list[Event]:
        text = self.place(
            "response.output_text.done", content_index=0, text=self.words, logprobs=[]
        )
        return [text, self.place("response.content_part.done", content_index=0, part=self._part())]


class _Reasoning(_Item):
    def __init__(self, index: int) -> None:
        super().__init__(index, "rs")

    def document(self, status: str) -> dict[str, Any]:
        content = [{"type": "reasoning_text", "text": self.words}] if self.words else []
        entry = {"id": self.id, "type": "reasoning", "summary": [], "status": status}
        return entry | {"content": content}

    def opened(self) -> list[Event]:
        return []

    def grown(self, words: str) -> Event:
        return self.place("response.reasoning_text.delta", content_index=0, delta=words)

    def closed(self) -> list[Event]:
        return [self.place("response.reasoning_text.done", content_index=0, text=self.words)]


class _Call(_Item):
    def __init__(self, index: int, name: str) -> None:
        super().__init__(index, "fc")
        self._name, self._call_id = name, f"call_{uuid.uuid4().hex[:24]}"

    def document(self, status: str) -> dict[str, Any]:
        entry = {"id": self.id, "type": "function_call", "status": status}
        return entry | {"call_id": self._call_id, "name": self._name, "arguments": self.words}

    def opened(self) -> list[Event]:
        return []

    def grown(self, words: str) -> Event:
        return self.place("response.function_call_arguments.delta", delta=words)

    def closed(self) -> list[Event]:
        kind = "response.function_call_arguments.done"
        return [self.place(kind, name=self._name, arguments=self.words)]


class ResponseWriter:
    """Writes one response.

    Args:
        response: as it begins, without output.
        has_tools: whether calls may come.
        shows_reasoning: whether what was thought is an item.
    """

    def __init__(self, response: Response, *, has_tools: bool, shows_reasoning: bool) -> None:
        self._response = response
        self._reader = CallReader() if has_tools else None
        self._shows_reasoning = shows_reasoning
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._is_cut = False
        self._number = -1

    def begin(self) -> Iterator[Event]:
        """Yield what comes before the first token."""
        for kind in ("response.created", "response.in_progress"):
            yield self._numbered({"type": kind, "response": self._response.model_dump()})

    def push(self, delta: Delta) -> Iterator[Event]:
        """Yield what a delta brings."""
        if delta.reasoning and self._shows_reasoning:
            yield from self._grow(_Reasoning, delta.reasoning)
        pieces: list[str | CallPiece] = [delta.content]
        if self._reader is not None:
            pieces = self._reader.push(delta.content)
            pieces += self._reader.finish() if delta.finish_reason else []
        for piece in pieces:
            if isinstance(piece, str):
                if piece:
                    yield from self._grow(_Message, piece)
            elif piece.name is not None:
                yield from self._start(_Call(len(self._items), piece.name))
            else:
                yield from self._grow(_Call, piece.arguments)
        self._is_cut = delta.finish_reason == "length"

    def end(self, usage: Usage) -> Iterator[Event]:
        """Yield what comes after the last token."""
        if not any(not isinstance(item, _Reasoning) for item in self._items):
            yield from self._start(_Message(len(self._items)))
        yield from self._close()
        self._response = self._response.model_copy(
            update={
                "status": "incomplete" if self._is_cut else "completed",
                "incomplete_details": IncompleteDetails() if self._is_cut else None,
                "output": [item.document(self._status) for item in self._items],
                "usage": _usage(usage),
            }
        )
        kind = f"response.{self._response.status}"
        yield self._numbered({"type": kind, "response": self._response.model_dump()})

    @property
    def response(self) -> Response:
        """The response as it is now; whole after `end`."""
        return self._response

    @property
    def _status(self) -> str:
        return "incomplete" if self._is_cut else "completed"

    def _grow(self, kind: type[_Item], words: str) -> Iterator[Event]:
        if not isinstance(self._open, kind):
            make: Any = kind
            yield from self._start(make(len(self._items)))
        assert self._open is not None
        self._open.words += words
        yield self._numbered(self._open.grown(words))

    def _start(self, item: _Item) -> Iterator[Event]:
        yield from self._close()
        self._open = item
        self._items.append(item)
        document = item.document("in_progress")
        kind = "response.output_item.added"
        yield self._numbered({"type": kind, "output_index": item.index, "item": document})
        for event in item.opened():
            yield self._numbered(event)

    def _close(self) -> Iterator[Event]:
        item, self._open = self._open, None
        if item is None:
            return
        for event in item.closed():
            yield self._numbered(event)
        document = item.document(self._status)
        kind = "response.output_item.done"
        yield self._numbered({"type": kind, "output_index": item.index, "item": document})

    def _numbered(self, event: Event) -> Event:
        self._number += 1
        return event | {"sequence_number": self._number}


def _usage(usage: Usage) -> ResponsesUsage:
    return ResponsesUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details={"cached_tokens": usage.prompt_tokens_details.cached_tokens},
        output_tokens=usage.completion_tokens,
        output_tokens_details={
            "reasoning_tokens": usage.completion_tokens_details.reasoning_tokens
        },
        total_tokens=usage.total_tokens,
    )
