"""Questions beside the point: a true picture is named, an odd one is refused."""

import numpy as np

from pipelines.tiny.conversations.asides import (
    REFUSALS,
    drawing_turn,
    picture_aside,
    recording_aside,
    refusal_turn,
)
from pipelines.tiny.conversations.scene import LABELS, Scene, name_of, parse_scene
from pipelines.tiny.odd_scoring import is_mixed

SCENE = Scene(rows=(("cat", "truck"), ("ship", "frog")))


def test_yes_and_no_are_true_and_the_scene_is_told():
    for seed in range(200):
        turn = picture_aside(SCENE, np.random.default_rng(seed))
        language = "zh" if any("\u4e00" <= c <= "\u9fff" for c in turn.answer) else "en"
        assert SCENE.describe(language) in turn.answer
        assert not is_mixed(turn.answer + turn.question, language)
        if turn.answer.startswith(("Yes", "No:", "是的", "不是")):
            asked = [x for x in LABELS if name_of(x, language).lower() in turn.question.lower()]
            if "汽车" in turn.question or "马" in turn.question:  # part of no other name
                assert asked
            is_there = any(label in SCENE.labels for label in asked)
            assert is_there == turn.answer.startswith(("Yes", "是的"))


def test_drawings_are_read_as_what_they_show():
    for seed in range(60):
        turn = drawing_turn("deer", np.random.default_rng(seed), is_thinking=True)
        assert parse_scene(turn.answer) == Scene(rows=(("deer",),))
        assert turn.reasoning


def test_refusals_are_in_one_language():
    for kind in ("picture", "recording"):
        for seed in range(60):
            turn = refusal_turn(kind, np.random.default_rng(seed), is_thinking=seed % 2 == 0)
            assert turn.answer in REFUSALS[kind].values()
            language = "en" if turn.answer == REFUSALS[kind]["en"] else "zh"
            assert not is_mixed(turn.question + turn.answer + turn.reasoning, language)
            assert bool(turn.reasoning) == (seed % 2 == 0)


def test_digits_are_told_whatever_is_asked():
    for seed in range(20):
        answer = recording_aside([3, 1], np.random.default_rng(seed)).answer
        assert "three one" in answer or "三 一" in answer
