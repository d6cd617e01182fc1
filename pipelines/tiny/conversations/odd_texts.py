"""What people write that `tiny` knows nothing of: questions, orders, prose, code, nonsense.

`TRAINED` and `HELD_OUT` share no topic, no form of a question and no line of prose.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.speech.word_lists import HELD_OUT_WORDS, TRAINING_WORDS
from pipelines.tiny.conversations.odd_forms import FOREIGN, FORMS, TOPICS
from pipelines.tiny.conversations.odd_words import any_words
from pipelines.tiny.conversations.scene import LANGUAGES, Language

OddTextKind = Literal[
    "question", "prose", "long", "nonsense", "code", "number", "foreign", "border", "scrap", "words"
]
"""`border`: scripts in which it is hard to say whether Chinese is asked for; `scrap`: a few words
out of prose; `words`: some of one language in no order."""

PROSE = Path("/usr/share/debian-reference")
"""Of Debian's `debian-reference-en` and `debian-reference-zh-cn`."""

_CHINESE_MARKS = "\u3002\u3001\u2026\uff1f\uff01\uff0c\uff1a\uff1b"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SYMBOLS = "!@#$%^&*()_+-=[]{};:'\"\\|,.<>/?~`"
_SHARES: dict[OddTextKind, float] = {
    "question": 0.62,
    "prose": 0.1,
    "long": 0.05,
    "nonsense": 0.09,
    "code": 0.04,
    "number": 0.06,
    "foreign": 0.04,
}
_EMOJI = "😀😂🙂🤔🎉🚀🌞🌙🐧🍎❤👍🔥⚡☕🎵"
_CODE = (
    "for i in range({n}): print({w})",
    "SELECT * FROM {w} WHERE id = {n};",
    "<html><body>{w}</body></html>",
    '{{"{w}": {n}, "ok": true}}',
    "https://example.org/{w}?id={n}",
    "def {w}(x): return x + {n}",
    "$ ls -l /home/{w} | grep {n}",
    "{w} = [{n}, {n}, {n}]",
    "import {w}",
    "C:\\{w}\\{n}.txt",
)


def language_of(text: str) -> Language:
    """Return the language of an answer to `text`: Chinese for Chinese, English for all else.

    Where there is no letter, Chinese punctuation tells.

    >>> language_of("今天星期几?"), language_of("Qué hora es?"), language_of("こんにちは世界")
    ('zh', 'en', 'en')
    """
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return "zh" if any(c in _CHINESE_MARKS for c in text) else "en"
    if any("\u3040" <= c <= "\u30ff" or "\uac00" <= c <= "\ud7a3" for c in letters):
        return "en"
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in letters)
    return "zh" if chinese and chinese >= 0.3 * len(letters) else "en"


@dataclass(frozen=True, kw_only=True)
class OddTexts:
    """One side of the stock.

    Attributes:
        forms: questions and orders by language; `{}` is a topic.
        topics: by language.
        lines: of prose, by language; may be empty.
        foreign: sentences in other languages.
    """

    forms: dict[Language, tuple[str, ...]]
    topics: dict[Language, tuple[str, ...]]
    lines: dict[Language, tuple[str, ...]]
    foreign: tuple[str, ...]

    def draw(
        self,
        rng: np.random.Generator,
        *,
        most_chars: int = 1500,
        kind: OddTextKind | None = None,
    ) -> str:
        """Return a text of at most `most_chars` characters (a third of that in Chinese).

        Args:
            rng: of everything random.
            most_chars: of prose.
            kind: of the text; where it is left out a random one, but none of `border`, `scrap`
                and `words`.
        """
        if kind is None:
            kind = list(_SHARES)[rng.choice(len(_SHARES), p=list(_SHARES.values()))]
        language: Language = "zh" if rng.random() < 0.5 else "en"
        if kind in ("prose", "long", "scrap") and not self.lines[language]:
            kind = "question"
        match kind:
            case "question":
                return self._question(language, rng)
            case "prose":
                line = self.lines[language][rng.integers(len(self.lines[language]))]
                return line[: most_chars if language == "en" else most_chars // 3]
            case "scrap":
                line = self.lines[language][rng.integers(len(self.lines[language]))]
                start = int(rng.integers(max(1, len(line) - 4)))
                return line[start : start + int(rng.integers(4, 80))].strip() or line
            case "long":
                return self._long(
                    language, rng, most_chars if language == "en" else most_chars // 3
                )
            case "nonsense":
                return _nonsense(rng)
            case "code":
                form = _CODE[rng.integers(len(_CODE))]
                return form.format(w=self._topic("en", rng).replace(" ", "_"), n=rng.integers(1000))
            case "number":
                return _calculation(rng)
            case "border":
                return self._border(rng)
            case "words":
                return any_words(
                    language,
                    forms=self.forms[language],
                    topics=self.topics[language],
                    lines=self.lines[language],
                    rng=rng,
                )
        return self.foreign[rng.integers(len(self.foreign))]

    def _topic(self, language: Language, rng: np.random.Generator) -> str:
        return self.topics[language][rng.integers(len(self.topics[language]))]

    def _question(self, language: Language, rng: np.random.Generator) -> str:
        form = self.forms[language][rng.integers(len(self.forms[language]))]
        question = form.replace("{}", self._topic(language, rng))
        if rng.random() < 0.15:
            question = question[:-1]
        return question.lower() if rng.random() < 0.15 else question

    def _border(self, rng: np.random.Generator) -> str:
        """Return Japanese or Korean letters, or words of both languages in any proportion."""
        length = int(rng.integers(2, 16))
        match rng.integers(4):
            case 0:
                kana = rng.integers(0x3041, 0x3097, length)
                return "".join(map(chr, kana))
            case 1:
                kana = rng.integers(0x30A1, 0x30FB, 2)
                signs = rng.integers(0x4E00, 0x9FA5, length // 2)
                return "".join(map(chr, rng.permutation([*kana, *signs])))
            case 2:
                return "".join(map(chr, rng.integers(0xAC00, 0xD7A4, length)))
        num_english = int(rng.integers(1, 6))
        words = [self._topic("en", rng) for _ in range(num_english)]
        words += [self._topic("zh", rng) for _ in range(int(rng.integers(1, 8)))]
        return " ".join(str(word) for word in rng.permutation(words))

    def _long(self, language: Language, rng: np.random.Generator, most_chars: int) -> str:
        wanted, text = int(rng.integers(most_chars // 4, most_chars)), ""
        start = int(rng.integers(len(self.lines[language])))
        while len(text) < wanted:
            text += self.lines[language][start % len(self.lines[language])] + "\n"
            start += 1
        return text[:wanted]


def load_odd_texts(*, is_held_out: bool = False, prose: Path = PROSE) -> OddTexts:
    """Return one side of the stock; without the package there is no prose."""
    side = int(is_held_out)
    lines: dict[Language, tuple[str, ...]] = {
        "en": _lines(prose / "debian-reference.en.txt.gz", is_held_out),
        "zh": _lines(prose / "debian-reference.zh-cn.txt.gz", is_held_out),
    }
    words = HELD_OUT_WORDS if is_held_out else TRAINING_WORDS
    topics = {language: TOPICS[language][side] for language in LANGUAGES}
    topics["en"] = (*topics["en"], *words)
    return OddTexts(
        forms={language: FORMS[language][side] for language in LANGUAGES},
        topics=topics,
        lines=lines,
        foreign=FOREIGN[side],
    )


def _lines(path: Path, is_held_out: bool) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found = [line.strip() for line in file]
    return tuple(
        line
        for line in found
        if len(line) > 12
        and any(c.isalpha() for c in line)
        and (hashlib.sha256(line.encode()).digest()[0] % 5 == 0) == is_held_out
    )


def _nonsense(rng: np.random.Generator) -> str:
    length = int(rng.integers(1, 25))
    match rng.integers(6):
        case 0:
            words = [
                "".join(rng.choice(list(_LETTERS), rng.integers(1, 10))) for _ in range(length)
            ]
            return " ".join(words)
        case 1:
            return "".join(rng.choice(list(_SYMBOLS), length + 1)) + rng.choice(list(_LETTERS))
        case 2:
            return "".join(chr(c) for c in rng.integers(0x4E00, 0x9FA5, length))
        case 3:
            return "".join(rng.choice(list(_EMOJI), length))
        case 4:
            return str(rng.choice(["ha", "la", "test ", "blah ", "a", "x", "foo "])) * (length + 2)
    return "".join(chr(c) for c in rng.integers(0xA1, 0x600, length))


def _calculation(rng: np.random.Generator) -> str:
    one, other = (int(n) for n in rng.integers(11, 10_000, 2))
    forms = (
        f"{one}+{other}",
        f"{one}*{other % 100}",
        f"{one % 100}-{other % 100}",
        f"What is {one} times {other % 100}?",
        f"What is {one} divided by {other % 100 + 2}?",
        f"{one % 100}*{other % 10 + 2}=",
        f"{one}除以{other % 100 + 2}等于多少?",
        f"{one % 100}乘以{other % 10 + 2}是多少?",
        f"{one}减{other}等于几?",
        f"What is the square root of {one}?",
    )
    return forms[rng.integers(len(forms))]
