"""What can be asked about spoken digits, with the reasoning that leads to the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.tiny.conversations.scene import Language

_CHINESE = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九")


@dataclass(frozen=True, kw_only=True)
class Solution:
    """An answer, and the reasoning that stands before it where thinking is on."""

    text: str
    reasoning: str


def said(digits: Sequence[int], language: Language) -> str:
    """Return the digits in words, as they are transcribed.

    >>> said([3, 1, 4], "en"), said([3, 1, 4], "zh")
    ('three one four', '三 一 四')
    """
    words = DIGIT_WORDS if language == "en" else _CHINESE
    return " ".join(words[digit] for digit in digits)


def added(digits: Sequence[int], language: Language) -> Solution:
    """Return the sum; the reasoning names each digit and adds one after another.

    >>> added([3, 1, 4], "en")
    Solution(text='8', reasoning='three is 3, one is 1, four is 4, 3+1=4, 4+4=8')
    """
    steps, total = [], digits[0]
    for digit in digits[1:]:
        steps.append(f"{total}+{digit}={total + digit}")
        total += digit
    return Solution(
        text=str(total), reasoning=_joined([*_named(digits, language), *steps], language)
    )


def largest(digits: Sequence[int], language: Language) -> Solution:
    """Return the largest digit.

    >>> largest([3, 1], "zh")
    Solution(text='3', reasoning='三是3,一是1,最大的是3')
    """
    most = max(digits)
    end = f"the largest is {most}" if language == "en" else f"最大的是{most}"
    return Solution(text=str(most), reasoning=_joined([*_named(digits, language), end], language))


def counted(digits: Sequence[int], language: Language) -> Solution:
    """Return how many digits were said.

    >>> counted([3, 1], "en")
    Solution(text='2', reasoning='three, one: 2')
    """
    words = _joined(said(digits, language).split(" "), language)
    return Solution(text=str(len(digits)), reasoning=f"{words}{_colon(language)}{len(digits)}")


def heard(reasoning: str) -> list[int]:
    """Return the digits that a reasoning says it heard.

    >>> heard("three is 3, one is 1, 3+1=4"), heard("三是3,一是1,3+1=4")
    ([3, 1], [3, 1])
    """
    parts = [part.strip() for part in reasoning.replace(",", ",").split(",")]
    named = [part for part in parts if " is " in part or "是" in part]
    named = [p for p in named if not p.startswith(("the largest", "最大"))]
    return [int(part[-1]) for part in named if part[-1:].isdigit()]


def _named(digits: Sequence[int], language: Language) -> list[str]:
    if language == "en":
        return [f"{DIGIT_WORDS[digit]} is {digit}" for digit in digits]
    return [f"{_CHINESE[digit]}是{digit}" for digit in digits]


def _joined(parts: Sequence[str], language: Language) -> str:
    return (", " if language == "en" else ",").join(parts)


def _colon(language: Language) -> str:
    return ": " if language == "en" else ":"
