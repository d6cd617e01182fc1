"""Conversations as written: every row is one that the chat format and the prompts know."""

from itertools import islice

import numpy as np

from dvse.chat import render
from pipelines.answering.prompts import DEFAULT_QUESTIONS
from pipelines.tiny.conversations.identity import answer_about_itself
from pipelines.tiny.conversations.questions import QUESTIONS
from pipelines.tiny.conversations.scene import Scene
from pipelines.tiny.conversations.turns import (
    messages,
    picture_turns,
    recording_turns,
)

SCENE = Scene(rows=(("cat", "truck"), ("ship", "frog")))
MEDIA = {"type": "image", "image": "media/1.png"}


def test_turns_render_and_answers_carry_loss():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        turns = [*islice(picture_turns(SCENE, rng), 2), *islice(recording_turns([3, 1], rng), 2)]
        chat = render(messages(MEDIA, turns, rng))
        told = "".join(
            getattr(item, "text", "")
            for item, learnt in zip(chat.items, chat.is_answer, strict=True)
            if learnt
        )
        for turn in turns:
            assert turn.answer in told
            assert turn.reasoning in told
            assert turn.question not in told
        assert sum(getattr(item, "source", None) == "media/1.png" for item in chat.items) == 1


def test_counting_turns_count():
    rng = np.random.default_rng(0)
    for turn in islice(picture_turns(SCENE, rng), 200):
        is_count = any(turn.question in QUESTIONS["how_many_pictures"][k] for k in ("en", "zh"))
        assert (turn.answer == "4") == is_count


def test_the_default_questions_are_taught():
    assert DEFAULT_QUESTIONS["image"] in QUESTIONS["picture"]["en"]
    assert DEFAULT_QUESTIONS["audio"] in QUESTIONS["recording"]["en"]


def test_who_are_you_names_model_and_size():
    english = answer_about_itself("who", "en", num_parameters=5_300_000)
    assert "tiny" in english and "DVSE" in english and "5 million" in english
