"""Questions beside the point: what a picture is not asked for, and pictures and sounds unknown.

A true picture or recording is named even so; an odd one is refused in one sentence.
"""

from collections.abc import Mapping

import numpy as np

from pipelines.tiny.conversations.arithmetic import said
from pipelines.tiny.conversations.questions import QUESTIONS
from pipelines.tiny.conversations.scene import LABELS, Language, Scene, name_of
from pipelines.tiny.conversations.talk import as_typed
from pipelines.tiny.conversations.turns import Turn

REFUSALS: Mapping[str, Mapping[Language, str]] = {
    "picture": {
        "en": "This is none of the ten kinds of pictures that I know.",
        "zh": "这不是我认识的十类图片。",
    },
    "recording": {"en": "I hear no English digits.", "zh": "我没有听到英语数字。"},
}

_UNKNOWN: Mapping[str, Mapping[Language, str]] = {
    "picture": {"en": "The picture shows nothing that I know.", "zh": "图片里没有我认识的东西。"},
    "recording": {"en": "No digit was said.", "zh": "没有说数字。"},
}
_ABOUT: Mapping[str, Mapping[Language, tuple[str, ...]]] = {
    "picture": {
        "en": (
            "What colour is it?",
            "Who took this picture?",
            "Where was this taken?",
            "When was this taken?",
            "How old is it?",
            "Do you like it?",
            "Is it beautiful?",
            "What is it doing?",
            "How much does it cost?",
            "Write a poem about this picture.",
            "What is in the background?",
            "Tell me a story about this.",
            "What is the weather like?",
            "How many people are there?",
        ),
        "zh": (
            "它是什么颜色的?",
            "这是谁拍的?",
            "这是在哪里拍的?",
            "这是什么时候拍的?",
            "它几岁了?",
            "你喜欢它吗?",
            "它漂亮吗?",
            "它在做什么?",
            "它多少钱?",
            "写一首关于这张图片的诗。",
            "背景里有什么?",
            "天气怎么样?",
            "有几个人?",
        ),
    },
    "recording": {
        "en": (
            "Who is speaking?",
            "Is it a man or a woman?",
            "Where was this recorded?",
            "What language is this?",
            "Is the speaker happy?",
            "Multiply the digits.",
        ),
        "zh": (
            "是谁在说话?",
            "是男人还是女人?",
            "这是在哪里录的?",
            "这是什么语言?",
            "把数字相乘。",
        ),
    },
}
_IS_IT: Mapping[Language, tuple[str, ...]] = {
    "en": ("Is this {}?", "Is it {}?", "Is there {} in the picture?", "Do you see {}?"),
    "zh": ("这是{}吗?", "图片里有{}吗?", "你看到{}了吗?", "这是不是{}?"),
}


def picture_aside(scene: Scene, rng: np.random.Generator) -> Turn:
    """Return a question that a caption does not answer, about a picture of the ten kinds.

    >>> scene = Scene(rows=(("cat",),))
    >>> picture_aside(scene, np.random.default_rng(0)).answer
    'I can only say what it shows: a photo of a cat.'
    """
    language = _language(rng)
    caption = scene.describe(language)
    if rng.random() < 0.5:
        question = _choose(_ABOUT["picture"][language], rng)
        answer = f"I can only say what it shows: {caption}."
        if language == "zh":
            answer = f"我只能说出图片里是什么:{caption}。"
        return Turn(question=as_typed(question, rng), answer=answer)
    is_there = rng.random() < 0.5
    others = [label for label in LABELS if label not in scene.labels]
    label = str(rng.choice(scene.labels if is_there else others))
    question = _choose(_IS_IT[language], rng).format(name_of(label, language))
    if language == "en":
        answer = f"Yes: {caption}." if is_there else f"No: {caption}."
    else:
        answer = f"是的:{caption}。" if is_there else f"不是:{caption}。"
    return Turn(question=as_typed(question, rng), answer=answer)


def recording_aside(digits: list[int], rng: np.random.Generator) -> Turn:
    """Return a question that a transcript does not answer, about spoken digits.

    >>> recording_aside([3, 1], np.random.default_rng(2)).answer
    '我只能写下数字:三 一。'
    """
    language = _language(rng)
    question = as_typed(_choose(_ABOUT["recording"][language], rng), rng)
    told = "I can only write down the digits: {}." if language == "en" else "我只能写下数字:{}。"
    return Turn(question=question, answer=told.format(said(digits, language)))


def refusal_turn(kind: str, rng: np.random.Generator, *, is_thinking: bool) -> Turn:
    """Return a question about an odd `picture` or `recording`, and the refusal.

    >>> refusal_turn("recording", np.random.default_rng(1), is_thinking=True).answer
    'I hear no English digits.'
    """
    language = _language(rng)
    if rng.random() < 0.2:
        question = as_typed(_choose(_ABOUT[kind][language], rng), rng)
    elif kind == "picture" and rng.random() < 0.15:
        name = name_of(str(rng.choice(LABELS)), language)
        question = as_typed(_choose(_IS_IT[language], rng).format(name), rng)
    else:
        asked = kind
        if kind == "recording" and rng.random() < 0.3:
            asked = str(rng.choice(["sum", "largest", "how_many_digits"]))
        choices = QUESTIONS[asked][language]
        question = choices[0] if rng.random() < 0.4 else _choose(choices, rng)
    return Turn(
        question=question,
        answer=REFUSALS[kind][language],
        reasoning=_UNKNOWN[kind][language] if is_thinking else "",
    )


def drawing_turn(label: str, rng: np.random.Generator, *, is_thinking: bool) -> Turn:
    """Return a question about a drawing of one of the ten kinds.

    >>> drawing_turn("cat", np.random.default_rng(1), is_thinking=True).answer
    'a drawing of a cat'
    """
    language = _language(rng)
    name = name_of(label, language)
    choices = QUESTIONS["picture"][language]
    told = (f"a drawing of {name}", f"1 picture: {name}")
    if language == "zh":
        told = (f"一幅{name}的画", f"1张图片:{name}")
    return Turn(
        question=choices[0] if rng.random() < 0.3 else _choose(choices, rng),
        answer=told[0],
        reasoning=told[1] if is_thinking else "",
    )


def _language(rng: np.random.Generator) -> Language:
    return "zh" if rng.random() < 0.45 else "en"


def _choose(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
