"""Questions about one picture or recording, with their answers: the turns of a conversation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.tiny.conversations.arithmetic import Solution, added, counted, largest, said
from pipelines.tiny.conversations.questions import QUESTIONS
from pipelines.tiny.conversations.scene import Language, Scene, name_of

_PLAINEST_SHARE = 0.3
_CHINESE_SHARE = 0.45
_TEXT_FIRST_SHARE = 0.3
_FULL_WIDTH_SHARE = 0.4
_WIDE = str.maketrans("?!,:;", "\uff1f\uff01\uff0c\uff1a\uff1b")
_SYSTEM_SHARE = 0.15
_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful, harmless and honest assistant.",
    "You are a helpful AI assistant. Answer the user's questions.",
    "Answer in one sentence.",
    "Be brief.",
    "You are an expert in everything.",
    "你是一个有用的助手。",
    "你是一个乐于助人的人工智能助手。",
    "请用一句话回答。",
    "请简短回答。",
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A question with its answer; `reasoning` is empty where thinking is off."""

    question: str
    answer: str
    reasoning: str = ""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages as JSON, and what the picture or recording in them shows.

    Attributes:
        shown: `{"size": [H, W], "tiles": [[top, left, class], …]}` in pixels, or
            `{"duration_s": d, "digits": [[start, end, digit], …]}` in seconds; `{"tiles": []}`
            and `{"digits": []}` where none of what is known is there.
    """

    messages: list[dict[str, Any]]
    shown: dict[str, Any] | None = None


def picture_turns(scene: Scene, rng: np.random.Generator) -> Iterator[Turn]:
    """Yield turns about a picture without end; the first one mostly asks what it shows."""
    first = True
    while True:
        kind = "picture" if rng.random() < (0.8 if first else 0.6) else "how_many_pictures"
        first = False
        yield picture_turn(scene, kind, rng, is_thinking=rng.random() < 0.3)


def picture_turn(scene: Scene, kind: str, rng: np.random.Generator, *, is_thinking: bool) -> Turn:
    """Return a turn of the kind `picture` or `how_many_pictures`."""
    language, question = _ask(kind, rng)
    return _turn(question, _about_picture(scene, kind, language), is_thinking)


def recording_turns(digits: Sequence[int], rng: np.random.Generator) -> Iterator[Turn]:
    """Yield turns about a recording without end."""
    kinds, shares = ("recording", "sum", "largest", "how_many_digits"), (0.5, 0.3, 0.12, 0.08)
    while True:
        kind = kinds[rng.choice(4, p=shares)]
        thinks = {"recording": 0.2, "sum": 0.65}.get(kind, 0.5)
        yield recording_turn(digits, kind, rng, is_thinking=rng.random() < thinks)


def recording_turn(
    digits: Sequence[int], kind: str, rng: np.random.Generator, *, is_thinking: bool
) -> Turn:
    """Return a turn of the kind `recording`, `sum`, `largest` or `how_many_digits`."""
    language, question = _ask(kind, rng)
    return _turn(question, _about_recording(digits, kind, language), is_thinking)


def messages(
    media: dict[str, Any] | None, turns: Sequence[Turn], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return OpenAI-style messages; the media part stands in the first question.

    Some begin with a system prompt, which changes nothing.
    """
    rows: list[dict[str, Any]] = []
    if rng.random() < _SYSTEM_SHARE:
        prompt = _SYSTEM_PROMPTS[rng.integers(len(_SYSTEM_PROMPTS))]
        rows.append({"role": "system", "content": prompt})
    is_media_placed = media is None
    for turn in turns:
        is_wide = rng.random() < _FULL_WIDTH_SHARE
        question = full_width(turn.question) if is_wide else turn.question
        text = {"type": "text", "text": question}
        content: Any = [text]
        if not is_media_placed:
            is_media_placed = True
            content = [text, media] if rng.random() < _TEXT_FIRST_SHARE else [media, text]
        rows.append({"role": "user", "content": content})
        reasoning = {"reasoning_content": turn.reasoning} if turn.reasoning else {}
        rows.append({"role": "assistant", "content": turn.answer, **reasoning})
    return rows


def full_width(text: str) -> str:
    """Return Chinese with the wide punctuation that belongs to it; other text as it is.

    >>> full_width("你好,你是谁?"), full_width("Who?")
    ('你好\uff0c你是谁\uff1f', 'Who?')
    """
    if not any("\u4e00" <= c <= "\u9fff" for c in text):
        return text
    return text.translate(_WIDE)


def _about_picture(scene: Scene, kind: str, language: Language) -> Solution:
    names = [name_of(label, language) for label in scene.labels]
    count = len(names)
    if language == "en":
        told = f"{count} picture{'s' if count > 1 else ''}: {', '.join(names)}"
    else:
        told = f"{count}张图片:{','.join(names)}"
    text = scene.describe(language) if kind == "picture" else str(count)
    return Solution(text=text, reasoning=told)


def _about_recording(digits: Sequence[int], kind: str, language: Language) -> Solution:
    match kind:
        case "sum":
            return added(digits, language)
        case "largest":
            return largest(digits, language)
        case "how_many_digits":
            return counted(digits, language)
    return Solution(text=said(digits, language), reasoning=counted(digits, language).reasoning)


def _ask(kind: str, rng: np.random.Generator) -> tuple[Language, str]:
    language: Language = "zh" if rng.random() < _CHINESE_SHARE else "en"
    choices = QUESTIONS[kind][language]
    plain = rng.random() < _PLAINEST_SHARE
    return language, choices[0 if plain else rng.integers(len(choices))]


def _turn(question: str, answer: Solution, is_thinking: bool) -> Turn:
    return Turn(
        question=question, answer=answer.text, reasoning=answer.reasoning if is_thinking else ""
    )
