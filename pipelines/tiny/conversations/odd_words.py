"""Words of one language in no order, alone or where a topic is asked for: what tells is the script.

The topics that trainings ask about are few. A model that has read no others takes the language of
its answer from words that it knows; these come out of prose, and any of them may stand anywhere.
"""

import re
from collections.abc import Sequence

import numpy as np

from pipelines.tiny.conversations.scene import Language

_CHINESE = re.compile("[\u4e00-\u9fff]+")
_ENGLISH = re.compile("[A-Za-z]{2,}")
_LONGEST_WORD = 4  # signs of Chinese
_MOST_WORDS = 8
_FORM_SHARE = 0.5
_MARKS: dict[Language, tuple[str, ...]] = {
    "en": ("?", ".", "!", ""),
    "zh": ("?", "?", "。", "!", ""),
}
_TRIES = 100


def any_words(
    language: Language,
    *,
    forms: Sequence[str],
    topics: Sequence[str],
    lines: Sequence[str],
    rng: np.random.Generator,
) -> str:
    """Return one to eight words in no order, or a question about one to three of them.

    Args:
        language: of the words.
        forms: questions in which `{}` stands for a topic.
        topics: words to draw from.
        lines: of prose, from which every other word comes; may be empty.
        rng: of everything random.

    >>> rng = np.random.default_rng(0)
    >>> any_words("zh", forms=["谁知道{}?"], topics=["茶"], lines=["如果内核在启动"], rng=rng)
    '果茶茶茶茶?'
    """
    space = " " if language == "en" else ""
    is_asked = rng.random() < _FORM_SHARE
    count = int(rng.integers(1, 4 if is_asked else _MOST_WORDS + 1))
    words = space.join(_word(language, topics, lines, rng) for _ in range(count))
    if is_asked:
        return forms[int(rng.integers(len(forms)))].replace("{}", words)
    marks = _MARKS[language]
    return words + marks[int(rng.integers(len(marks)))]


def _word(
    language: Language, topics: Sequence[str], lines: Sequence[str], rng: np.random.Generator
) -> str:
    for _ in range(_TRIES if lines and rng.random() < 0.5 else 0):
        line = lines[int(rng.integers(len(lines)))]
        found = (_CHINESE if language == "zh" else _ENGLISH).findall(line)
        if not found:
            continue
        run = str(found[int(rng.integers(len(found)))])
        if language == "en":
            return run
        start = int(rng.integers(len(run)))
        return run[start : start + int(rng.integers(1, _LONGEST_WORD + 1))]
    return topics[int(rng.integers(len(topics)))]
