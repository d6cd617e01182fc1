"""The words of an answer, and which of its tokens wrote each. Knows text, nothing of time."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dvse.text.tokenizer import TextTokenizer
from pipelines.answering.incremental_text import IncrementalText

# Where no blanks stand between words, a character is one (Han, kana).
_CHARACTER = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_CHARACTER}]|[^\\s{_CHARACTER}]+")


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A word without the punctuation around it.

    Attributes:
        text: the word.
        start: where it, or a mark before it, begins in the answer's text.
        tokens: numbers of the answer's tokens that wrote some of it, in order.
    """

    text: str
    start: int
    tokens: tuple[int, ...]


def spoken_words(ids: Sequence[int], text: TextTokenizer) -> list[SpokenWord]:
    """Return the words that the ids of an answer write.

    >>> import dvse
    >>> text = dvse.load("tiny").text
    >>> found = spoken_words(text.encode("seven, 三一!").tolist(), text)
    >>> [(word.text, word.start) for word in found]
    [('seven', 0), ('三', 7), ('一', 8)]
    """
    growing = IncrementalText(text)
    pieces = [growing.push(token_id) for token_id in ids]
    writers = [number for number, piece in enumerate(pieces) for _ in piece]
    content = "".join(pieces)
    words = []
    for found in _WORD.finditer(content):
        start, stop = found.span()
        while start < stop and _is_mark(content[start]):
            start += 1
        while start < stop and _is_mark(content[stop - 1]):
            stop -= 1
        if start < stop:
            tokens = tuple(dict.fromkeys(writers[start:stop]))
            word = SpokenWord(text=content[start:stop], start=found.start(), tokens=tokens)
            words.append(word)
    return words


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("P")
