"""A conversation (OpenAI-style messages whose parts name files) → one record.

Role markers become special tokens, answers are marked for the loss; `dvse.chat` has the format.
Paths count from the folder of the file that holds the conversation. Pictures and recordings may
also stand beside it (`images` of a table, `image` of LLaVA's lines): they go, in order, where the
messages have a part without content (`{"type": "image"}`) or say `<image>` or `<audio>`, and their
numbers have to agree.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dvse.chat import render
from dvse.errors import InputError
from dvse.items import Audio, Image, Item, Special, Text
from dvse.remote.address import join
from pipelines.sources.places import file_place
from pipelines.sources.record import HeldPlace, ItemKind, ItemRef, Record, failed

_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def conversation_record(
    messages: Any, id: str, source: str, folder: str, media: Sequence[ItemRef] = ()
) -> Record:
    """Return the record of one conversation, or its failure; `media` stand beside it."""
    try:
        places = _Places(media)
        chat = render(_openai_style(messages, places))
        places.check()
        refs = tuple(_ref(item, folder) for item in chat.items)
    except InputError as error:
        return failed(id, source, error)
    return Record(id=id, source=source, refs=refs, is_answer=chat.is_answer)


class _Places:
    """Where the media beside a conversation go."""

    def __init__(self, media: Sequence[ItemRef]) -> None:
        self._waiting = {k: [p for p in media if p.kind == k] for k in ("image", "audio")}
        self._given = {kind: len(parts) for kind, parts in self._waiting.items()}

    def take(self, kind: str, index: int | None = None) -> ItemRef:
        """Return the next one for a place, which may say that it is number `index`.

        Raises:
            InputError: there is none, or it is another.
        """
        following = self._given[kind] - len(self._waiting[kind])
        if index not in (None, following):
            raise InputError(f"expected the place of {kind} {following} next, received {index}")
        if not self._waiting[kind]:
            raise InputError(
                f"the conversation has more places of kind {kind} than the {self._given[kind]} "
                "that stand beside it"
            )
        return self._waiting[kind].pop(0)

    def cut(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield the parts of a text that says `<image>` or `<audio>` where there are media."""
        marks = "|".join(f"<{kind}>" for kind, count in self._given.items() if count)
        for piece in re.split(f"({marks})", text) if marks else [text]:
            if marks and re.fullmatch(marks, piece):
                yield {"type": piece[1:-1], piece[1:-1]: self.take(piece[1:-1])}
            elif piece:
                yield {"type": "text", "text": piece}

    def check(self) -> None:
        """See whether each has found its place.

        Raises:
            InputError: one has not, and would be left out.
        """
        for kind, left in self._waiting.items():
            if left:
                raise InputError(
                    f"{len(left)} of {self._given[kind]} of kind {kind} that stand beside the "
                    f"conversation have no place in it (a part of type {kind}, or <{kind}> in a "
                    "text)"
                )


def _openai_style(messages: Any, places: _Places) -> Any:
    """ShareGPT's `from`/`value` and nulls that tables fill in, in OpenAI's form."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return messages
    return [_message(m, places) if isinstance(m, Mapping) else m for m in messages]


def _message(message: Mapping[str, Any], places: _Places) -> dict[str, Any]:
    if "from" in message and "role" not in message:
        role = message["from"]
        message = {"role": _SHAREGPT_ROLES.get(role, role), "content": message.get("value")}
    content = message.get("content")
    if isinstance(content, str):
        pieces = list(places.cut(content))
        content = content if all(p["type"] == "text" for p in pieces) else pieces
    elif isinstance(content, Sequence):
        content = [_filled(p, places) if isinstance(p, Mapping) else p for p in content]
    return {**{k: v for k, v in message.items() if v is not None}, "content": content}


def _filled(part: Mapping[str, Any], places: _Places) -> dict[str, Any]:
    """A part without the nulls of a table; one that only names a kind is a place."""
    part = {k: v for k, v in part.items() if v is not None}
    kind = part.get("type")
    if kind in ("image", "audio") and part.keys() <= {"type", "index"}:
        return {"type": kind, kind: places.take(kind, part.get("index"))}
    return part


def _ref(item: Item, folder: str) -> ItemRef:
    match item:
        case Text():
            return ItemRef.of_text(item.text)
        case Special():
            return ItemRef.of_text(item.name, kind="special")
        case Image() | Audio():
            if isinstance(item.source, ItemRef):
                return item.source
            kind: ItemKind = "image" if isinstance(item, Image) else "audio"
            if isinstance(item.source, bytes):
                return ItemRef(kind=kind, place=HeldPlace(item.source))
            if isinstance(item.source, str):
                path = join(folder, item.source)
                return ItemRef(kind=kind, place=file_place(path))
    raise InputError(f"expected a path or base64 data, received {type(item).__name__}")
