"""What counts as babble, on answers written by hand."""

import pytest

from pipelines.answering.caption import Caption
from pipelines.tiny.odd_scoring import LIMIT, _drawings, faults, is_mixed


def caption(text, reasoning=None, is_complete=True):
    return Caption(
        text=text,
        reasoning=reasoning,
        token_ids=(1, 0),
        num_prompt_ids=5,
        log_probability=-1.0,
        is_complete=is_complete,
        seconds=0.1,
    )


@pytest.mark.parametrize(
    ("told", "language", "expected"),
    [
        (caption("I hear no English digits."), "en", []),
        (caption("我是 tiny,随 DVSE 附带的小模型。", "这个问题问的是我自己。"), "zh", []),
        (caption("14", "8+6=14"), "zh", []),
        (caption("8888", is_complete=False), "en", ["endless"]),
        (caption(" \n"), "en", ["empty"]),
        (caption("caf\ufffd"), "en", ["broken"]),
        (caption("I am 小", "ok"), "en", ["mixed"]),
        (caption("我是", "The question is about me."), "zh", ["mixed"]),
        (caption("我是"), "en", ["other_language"]),
        (caption("I hear no English digits.", "No digit was said."), "zh", ["other_language"]),
        (caption("", is_complete=False), "zh", ["endless", "empty"]),
    ],
)
def test_faults(told, language, expected):
    assert faults(told, language) == expected


def test_names_are_of_no_language():
    assert not is_mixed("我是 Tiny,DVSE 的。", "zh")
    assert is_mixed("我是 tinyx", "zh")


def test_the_limit_is_the_one_a_user_meets():
    from inspect import signature

    from pipelines.answering.captioner import Captioner

    assert signature(Captioner.__call__).parameters["max_new_tokens"].default == LIMIT


def test_a_drawing_is_told_where_its_kind_is_named():
    asked = []

    def always_a_cat(pictures, *, prompt, on_error):
        asked.append((len(pictures), prompt))
        return ["a drawing of a cat"] * len(pictures)

    found = _drawings(always_a_cat, 3)
    assert found == {"of_each": 3, "accuracy_en": 0.1, "accuracy_zh": 0.1}
    assert asked == [(3, "What is this?")] * 10 + [(3, "这是什么?")] * 10
