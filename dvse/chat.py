"""OpenAI-style messages → a row of items in GLM's chat format.

    [gMASK]<sop><|system|>⏎…<|user|>⏎…<|assistant|>⏎<think>…</think>answer<|endoftext|>

Role markers are put in as ids, so no text that a user writes can open a turn. An answer is
followed by the next `<|user|>`, or by `<|endoftext|>` when it is the last; either is where a
decoder stops, so both carry loss. Source: the chat templates of GLM-4 and GLM-4.5.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from dvse.data_url import is_data_url, read_data, read_data_url
from dvse.errors import InputError
from dvse.items import Audio, Image, Item, Special, Text
from dvse.special_tokens import (
    ASSISTANT,
    END_OF_TEXT,
    END_THINK,
    GMASK,
    OBSERVATION,
    SOP,
    SYSTEM,
    THINK,
    USER,
)

_ROLES = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    "tool": OBSERVATION,
}


@dataclass(frozen=True, kw_only=True)
class RenderedChat:
    """A conversation as one row.

    Attributes:
        items: the row, role markers included.
        is_answer: for each item, whether a decoder should learn to produce it.
    """

    items: tuple[Item, ...]
    is_answer: tuple[bool, ...]


def render(
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    enable_thinking: bool = False,
    allow_files: bool = True,
) -> RenderedChat:
    r"""Lay out a conversation.

    Args:
        messages: `{"role": "system"|"user"|"assistant"|"tool", "content": str | [part, …]}` where
            a part is `{"type": "text", "text": …}`, `{"type": "image_url", "image_url": {"url":
            data URL or path}}`, `{"type": "input_audio", "input_audio": {"data": base64}}`,
            `{"type": "image"|"audio", …: path, bytes or array}`. An assistant message may carry
            `reasoning_content`.
        add_generation_prompt: end with `<|assistant|>`.
        continue_final_message: leave the last answer open, so that a decoder goes on with it.
        enable_thinking: do not close `<think>` in that prompt.
        allow_files: let parts name files; a server says no.

    Raises:
        InputError: messages of another form, an address that is not data or a file, or an answer
            to be gone on with where the last message is none or a new one was asked for.

    >>> chat = render([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    >>> [getattr(item, "name", None) or item.text for item in chat.items]
    ['[gMASK]', '<sop>', '<|user|>', '\nHi', '<|assistant|>', '\n', '<think>', '</think>']
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise InputError("expected a list of at least one message with 'role' and 'content'")
    row: list[tuple[Item, bool]] = [(Special(GMASK), False), (Special(SOP), False)]
    answered = False
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise InputError(
                f"message {number}: expected a role of {sorted(_ROLES)}, received {_short(message)}"
            )
        is_answer = role == "assistant"
        row.append((Special(_ROLES[role]), answered))
        answered = is_answer
        row += _turn(message, number, is_answer, allow_files)
    if continue_final_message:
        if add_generation_prompt or not answered:
            raise InputError(
                "continue_final_message: expected the last message to be the assistant's and no "
                "add_generation_prompt"
            )
    elif add_generation_prompt:
        row += [(item, False) for item in opening(thinking=enable_thinking)]
    elif answered:
        row.append((Special(END_OF_TEXT), True))
    return RenderedChat(
        items=tuple(item for item, _ in row), is_answer=tuple(flag for _, flag in row)
    )


def opening(*, thinking: bool = False) -> tuple[Item, ...]:
    """Return the items that open an answer: with `thinking`, room for `<think>` is left.

    >>> [getattr(item, "name", "") for item in opening()]
    ['<|assistant|>', '', '<think>', '</think>']
    """
    closed = () if thinking else (Special(THINK), Special(END_THINK))
    return (Special(ASSISTANT), Text("\n"), *closed)


def _turn(
    message: Mapping[str, Any], number: int, is_answer: bool, allow_files: bool
) -> Iterator[tuple[Item, bool]]:
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence) or isinstance(parts, bytes):
        raise InputError(
            f"message {number}: expected content to be a string or a list of parts, received "
            f"{type(content).__name__}"
        )
    items = [_item(part, number, allow_files) for part in parts]
    if is_answer:
        yield Text("\n"), False
        thinks = [i for i in [message.get("reasoning_content")] if isinstance(i, str) and i]
        yield Special(THINK), bool(thinks)
        for thought in thinks:
            yield Text(thought), True
        yield Special(END_THINK), bool(thinks)
        yield from ((item, True) for item in items)
    elif items and isinstance(items[0], Text):
        yield Text("\n" + items[0].text), False
        yield from ((item, False) for item in items[1:])
    else:
        yield Text("\n"), False
        yield from ((item, False) for item in items)


def _item(part: Any, number: int, allow_files: bool) -> Item:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "input_text") and isinstance(part.get("text"), str):
        return Text(part["text"])
    if kind in ("image_url", "input_image"):
        value = part.get("image_url")
        url = value.get("url") if isinstance(value, Mapping) else value
        return Image(_content_of(url, f"message {number}: image_url", allow_files))
    if kind == "input_audio" and isinstance(part.get("input_audio"), Mapping):
        return Audio(
            _named(f"message {number}: input_audio", read_data, part["input_audio"].get("data"))
        )
    if kind == "audio_url":
        value = part.get("audio_url")
        url = value.get("url") if isinstance(value, Mapping) else value
        return Audio(_content_of(url, f"message {number}: audio_url", allow_files))
    if kind in ("image", "audio"):
        keys = [key for key in (kind, "path", "url", "bytes", "data") if part.get(key) is not None]
        if keys:
            value = part[keys[0]]
            if isinstance(value, str):
                value = _content_of(value, f"message {number}: {kind}", allow_files)
            rate = part.get("sample_rate_hz") or part.get("sampling_rate")
            return Image(value) if kind == "image" else Audio(value, sample_rate_hz=rate)
    raise InputError(
        f"message {number}: expected a part of type text, image_url, input_audio, image or audio "
        f"with its content, received {_short(part)}"
    )


def _content_of(url: Any, where: str, allow_files: bool) -> bytes | str:
    """Bytes of a data URL, or the path that a plain string or file: address names."""
    if not isinstance(url, str) or not url:
        raise InputError(f"{where}: expected an address, received {_short(url)}")
    if is_data_url(url):
        return _named(where, read_data_url, url)
    scheme = url[:6].partition(":")[0].lower() if ":" in url[:6] else ""
    if scheme in ("http", "https", "ftp"):
        raise InputError(
            f"{where}: remote addresses are not fetched; send the content as data:…;base64,…"
        )
    if not allow_files:
        raise InputError(f"{where}: expected data:TYPE;base64,…, received {_short(url)}")
    if scheme == "file":
        return unquote(url[5:].removeprefix("//").removeprefix("localhost"))
    return url


def _named(where: str, read: Callable[[str], bytes], text: Any) -> bytes:
    try:
        return read(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _short(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
