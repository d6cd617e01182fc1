"""A conversation (OpenAI-style messages whose parts name files) → one record.

Role markers become special tokens, answers are marked for the loss; `dvse.chat` has the format.
Paths count from the folder of the file that holds the conversation.
"""

# ruff: noqa: PTH118
# Paths stay strings: they come by the million, and os.path is several times faster.

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dvse.chat import render
from dvse.errors import InputError
from dvse.items import Audio, Image, Item, Special, Text
from pipelines.sources.record import FilePlace, HeldPlace, Part, PartKind, Record, failed

_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def conversation_record(messages: Any, id: str, source: str, folder: str) -> Record:
    """Return the record of one conversation, or its failure."""
    try:
        chat = render(_openai_style(messages))
        parts = tuple(_part(item, folder) for item in chat.items)
    except InputError as error:
        return failed(id, source, error)
    return Record(id=id, source=source, parts=parts, is_answer=chat.is_answer)


def _openai_style(messages: Any) -> Any:
    """ShareGPT's `from`/`value` and nulls that tables fill in, in OpenAI's form."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return messages
    return [_message(m) if isinstance(m, Mapping) else m for m in messages]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    if "from" in message and "role" not in message:
        role = message["from"]
        return {"role": _SHAREGPT_ROLES.get(role, role), "content": message.get("value")}
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = [
            {k: v for k, v in part.items() if v is not None} if isinstance(part, Mapping) else part
            for part in content
        ]
    return {**{k: v for k, v in message.items() if v is not None}, "content": content}


def _part(item: Item, folder: str) -> Part:
    match item:
        case Text():
            return Part.of_text(item.text)
        case Special():
            return Part.of_text(item.name, kind="special")
        case Image() | Audio():
            kind: PartKind = "image" if isinstance(item, Image) else "audio"
            if isinstance(item.source, bytes):
                return Part(kind=kind, place=HeldPlace(item.source))
            if isinstance(item.source, str):
                path = os.path.join(folder, item.source)
                return Part(kind=kind, place=FilePlace(path))
    raise InputError(f"expected a path or base64 data, received {type(item).__name__}")
