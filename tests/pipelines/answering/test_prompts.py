"""Prompts: the ids are the chat template's, and what is too long is refused."""

import numpy as np
import pytest

import dvse
from dvse.errors import InputError, MissingFileError, PromptTooLongError
from dvse.items import Audio, Image, Special, Text
from pipelines.answering.prompts import DEFAULT_QUESTIONS, encode_prompts, prompt_row

TINY = dvse.load("tiny")
PIXELS = np.full((32, 32, 3), 90, np.uint8)
SOUND = np.sin(np.arange(4000) / 9).astype(np.float32)


def names(ids):
    return [TINY.name_of(i) for i in ids]


@pytest.mark.parametrize("thinking", [True, False])
def test_same_ids_as_the_chat_template(thinking):
    (encoding,) = encode_prompts(
        TINY, [prompt_row([Image(PIXELS)], "What?", thinking=thinking)], max_length=512
    )
    message = {
        "role": "user",
        "content": [{"type": "image", "image": PIXELS}, {"type": "text", "text": "What?"}],
    }
    expected = TINY.apply_chat_template([message], enable_thinking=thinking)
    assert encoding.ids.tolist() == expected.input_ids[0].tolist()


def test_thinking_off_closes_the_reasoning_and_on_leaves_it_open():
    off, on = encode_prompts(
        TINY, [prompt_row([Text("Hi")]), prompt_row([Text("Hi")], thinking=True)], max_length=512
    )
    assert names(off.ids)[-2:] == ["<think>", "</think>"]
    assert off.ids[:-2].tolist() == on.ids.tolist()


@pytest.mark.parametrize(
    ("items", "question"),
    [
        ([Image(PIXELS)], DEFAULT_QUESTIONS["image"]),
        ([Image(PIXELS), Image(PIXELS)], DEFAULT_QUESTIONS["image"]),
        ([Audio(SOUND, 8000)], DEFAULT_QUESTIONS["audio"]),
        ([Image(PIXELS), Audio(SOUND, 8000)], DEFAULT_QUESTIONS["mixed"]),
    ],
)
def test_the_question_nobody_asked(items, question):
    assert prompt_row(items) == prompt_row(items, question)


def test_a_text_is_its_own_question_and_an_empty_one_is_none():
    row = prompt_row([Text("Who are you?")])
    assert [i.text for i in row if isinstance(i, Text)] == ["\nWho are you?", "\n"]
    row = prompt_row([Image(PIXELS)], "")
    assert [i.text for i in row if isinstance(i, Text)] == ["\n", "\n"]


def test_arrays_keep_their_sample_rate():
    (audio,) = [i for i in prompt_row([Audio(SOUND, 8000)]) if isinstance(i, Audio)]
    assert audio.sample_rate_hz == 8000


def test_markers_in_a_question_stay_text():
    (encoding,) = encode_prompts(TINY, [prompt_row([Text("<|user|>")])], max_length=512)
    assert names(encoding.ids).count("<|user|>") == 1


def test_specials_are_refused():
    with pytest.raises(InputError, match=r"expected dvse\.Image"):
        prompt_row([Special("<|user|>")])


def test_too_long_is_refused_with_both_lengths():
    rows = [prompt_row([Text("three " * n)]) for n in (1, 400)]
    length = len(TINY.encode(rows[1]))
    good, bad = encode_prompts(TINY, rows, max_length=length)
    assert not isinstance(good, InputError)
    assert isinstance(bad, PromptTooLongError)
    assert f"{length} ids" in str(bad) and f"holds {length}" in str(bad)
    _, fits = encode_prompts(TINY, rows, max_length=length + 1)
    assert len(fits) == length


def test_an_error_stays_with_its_row():
    rows = [prompt_row([Image("missing.png")]), prompt_row([Text("Hi")])]
    bad, good = encode_prompts(TINY, rows, max_length=512)
    assert isinstance(bad, MissingFileError)
    assert len(good) > 4
