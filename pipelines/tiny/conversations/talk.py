"""Turns of words alone: who it is, greetings, thanks, small sums, and all that it does not know.

Every kind has one answer a language and, with thinking on, one short true sentence before it. What
is asked comes from `talk_questions` and, where it is none of the model's business, from
`odd_texts`.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.tiny.conversations.identity import answer_about_itself
from pipelines.tiny.conversations.odd_texts import OddTextKind, OddTexts, language_of
from pipelines.tiny.conversations.scene import Language
from pipelines.tiny.conversations.talk_questions import TALK, WHO_HELD_OUT
from pipelines.tiny.conversations.turns import Turn

ANSWERS: Mapping[str, Mapping[Language, str]] = {
    "hello": {
        "en": "Hello! I am tiny. I name tiny pictures and write down spoken English digits.",
        "zh": "你好!我是 tiny。我能说出小图片里是什么,也能写下英语读出的数字。",
    },
    "thanks": {"en": "You are welcome.", "zh": "不客气。"},
    "bye": {"en": "Goodbye!", "zh": "再见!"},
    "how": {"en": "I am a small program, and I work.", "zh": "我是一个小程序,运行正常。"},
    "nothing": {
        "en": "I read no question. Show me a small picture, or say English digits.",
        "zh": "我没有读到问题。请给我小图片,或者英语读出的数字。",
    },
    "no_media": {
        "en": "I see no picture and hear no recording.",
        "zh": "我没有看到图片,也没有听到录音。",
    },
}
"""Beside those of `pipelines.tiny.conversations.identity`."""

REASONING: Mapping[str, Mapping[Language, str]] = {
    "who": {"en": "The question is about me.", "zh": "这个问题问的是我自己。"},
    "can": {"en": "The question is what I can do.", "zh": "这个问题问的是我会什么。"},
    "hello": {"en": "This is a greeting.", "zh": "这是问候。"},
    "thanks": {"en": "This is a thank you.", "zh": "这是道谢。"},
    "bye": {"en": "This is a goodbye.", "zh": "这是道别。"},
    "how": {"en": "The question is how I am.", "zh": "这是问我好不好。"},
    "nothing": {"en": "There is no question.", "zh": "这里没有问题。"},
    "no_media": {"en": "There is no picture and no recording.", "zh": "这里没有图片,也没有录音。"},
    "other": {
        "en": "This is not about small pictures or spoken digits.",
        "zh": "这与小图片和读出的数字无关。",
    },
}

_THINKING_SHARE = 0.45
_LARGEST_TERM = 10
SHARES: Mapping[str, float] = {
    "who": 0.22,
    "can": 0.07,
    "hello": 0.06,
    "thanks": 0.03,
    "bye": 0.02,
    "how": 0.02,
    "nothing": 0.03,
    "no_media": 0.07,
    "sum": 0.12,
    "other": 0.36,
}
"""How often each kind is asked, where nothing else is said."""

_ODD_KINDS: Mapping[str, OddTextKind | None] = {
    "other": None,
    "prose": "prose",
    "long": "long",
    "scrap": "scrap",
    "border": "border",
    "words": "words",
    "nonsense": "nonsense",
    "number": "number",
}
_AROUND: Mapping[Language, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        ("So, ", "So ", "OK, ", "Well, ", "Now, ", "Please, ", "Hi, ", "Hello, ", "Sorry, ",
         "Excuse me, ", "Right, ", "And ", "Just "),
        (", please", " exactly", " then", " actually", " now", ", my friend"),
    ),
    "zh": (
        ("请问", "那么,", "那", "你好,", "嗨,", "喂,", "所以", "好吧,", "对不起,", "麻烦问一下,"),
        ("呢", "啊", "呀"),
    ),
}  # fmt: skip
_CHINESE_NUMBERS = "零一二三四五六七八九十"


def talk_turns(
    odd: OddTexts,
    rng: np.random.Generator,
    *,
    num_parameters: int,
    most_chars: int = 1500,
    shares: Mapping[str, float] = SHARES,
) -> Iterator[Turn]:
    """Yield turns without media and without end.

    Args:
        odd: what it does not know.
        rng: of everything random.
        num_parameters: of the model, for what it says of itself.
        most_chars: of a question.
        shares: of the kinds; some are a kind of odd texts, `other` is any of them.
    """
    kinds, chances = list(shares), list(shares.values())
    while True:
        kind = kinds[rng.choice(len(kinds), p=chances)]
        is_thinking = rng.random() < _THINKING_SHARE
        if kind == "sum":
            yield sum_turn(rng, is_thinking=is_thinking)
        elif kind in _ODD_KINDS:
            question = odd.draw(rng, most_chars=most_chars, kind=_ODD_KINDS[kind])
            yield fixed_turn(
                "other", language_of(question), question, num_parameters, is_thinking=is_thinking
            )
        else:
            language: Language = "zh" if rng.random() < 0.5 else "en"
            choices = TALK[kind][language]
            plain = rng.random() < 0.2
            question = choices[0 if plain else rng.integers(len(choices))]
            if kind != "nothing":  # its marks are all that tells the language
                question = as_typed(_among_words(question, language, rng), rng)
            yield fixed_turn(kind, language, question, num_parameters, is_thinking=is_thinking)


def fixed_turn(
    kind: str, language: Language, question: str, num_parameters: int, *, is_thinking: bool
) -> Turn:
    """Return a turn with the one answer of a kind."""
    if kind in ANSWERS:
        answer = ANSWERS[kind][language]
    else:
        answer = answer_about_itself(kind, language, num_parameters=num_parameters)
    return Turn(
        question=question,
        answer=answer,
        reasoning=REASONING[kind][language] if is_thinking else "",
    )


def sum_turn(rng: np.random.Generator, *, is_thinking: bool) -> Turn:
    """Return a sum of two numbers up to ten, asked in figures or in words.

    >>> turn = sum_turn(np.random.default_rng(0), is_thinking=True)
    >>> turn.question, turn.reasoning, turn.answer
    ('How much is 9 plus 7?', '9+7=16', '16')
    """
    one, other = (int(n) for n in rng.integers(0, _LARGEST_TERM + 1, 2))
    form = _SUMS[rng.integers(len(_SUMS))]
    return Turn(
        question=form(one, other),
        answer=str(one + other),
        reasoning=f"{one}+{other}={one + other}" if is_thinking else "",
    )


def as_typed(question: str, rng: np.random.Generator) -> str:
    """Return a question as people type it: without its mark, no capitals, spaces around.

    >>> as_typed("Who are you?", np.random.default_rng(11))
    'who are you?'
    """
    if rng.random() < 0.25:
        question = question.lower()
    if question.endswith(("?", ".", "!", "。")):
        match rng.integers(8):
            case 0 | 1:
                question = question[:-1]
            case 2:
                question += question[-1]
    if rng.random() < 0.08:
        question = f" {question} " if rng.random() < 0.5 else f"{question}\n"
    return question


def _among_words(question: str, language: Language, rng: np.random.Generator) -> str:
    """Return a question, sometimes with a word before or after it; never one that is held out."""
    before, after = _AROUND[language]
    said = question
    if rng.random() < 0.25:
        first = before[rng.integers(len(before))]
        is_name = question.startswith(("I ", "GLM", "AI"))
        said = first + (question if is_name else question[0].lower() + question[1:])
    if rng.random() < 0.12 and said.endswith("?"):
        said = said[:-1] + after[rng.integers(len(after))] + "?"
    return question if _bare(said) in map(_bare, WHO_HELD_OUT[language]) else said


def _bare(question: str) -> str:
    return "".join(c for c in question.lower() if c.isalnum())


def _in_words(number: int) -> str:
    return (*DIGIT_WORDS, "ten")[number]


def _in_chinese(number: int) -> str:
    return _CHINESE_NUMBERS[number]


_SUMS: tuple[Callable[[int, int], str], ...] = (
    lambda a, b: f"{a}+{b}",
    lambda a, b: f"{a}+{b}",
    lambda a, b: f"{a} + {b}",
    lambda a, b: f"{a}+{b}=",
    lambda a, b: f"{a} + {b} = ?",
    lambda a, b: f"{a}+{b}?",
    lambda a, b: f"What is {a}+{b}?",
    lambda a, b: f"What is {a} + {b}?",
    lambda a, b: f"what's {a} + {b}",
    lambda a, b: f"What is {a} plus {b}?",
    lambda a, b: f"How much is {a} plus {b}?",
    lambda a, b: f"Calculate {a}+{b}.",
    lambda a, b: f"Add {a} and {b}.",
    lambda a, b: f"What is {_in_words(a)} plus {_in_words(b)}?",
    lambda a, b: f"{a}加{b}等于几?",
    lambda a, b: f"{a}+{b}等于几?",
    lambda a, b: f"{a}+{b}等于多少?",
    lambda a, b: f"{a}加{b}是多少?",
    lambda a, b: f"请计算{a}+{b}。",
    lambda a, b: f"{_in_chinese(a)}加{_in_chinese(b)}等于几?",
    lambda a, b: f"{_in_chinese(a)}加{_in_chinese(b)}是多少?",
)
