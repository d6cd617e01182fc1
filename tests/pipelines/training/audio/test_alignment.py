"""Which frame says which phone: the best path against all of them."""

from itertools import combinations

import numpy as np
import pytest
import torch

from pipelines.speech.espeak import SILENCE
from pipelines.speech.phones import DIGIT_PHONES, PHONES, phone_index
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.training.audio.alignment import align_phones, best_path
from pipelines.training.audio.batches import Batch
from pipelines.training.audio.encoder import (
    IGNORED,
    NO_DIGIT,
)


def test_the_best_path_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        log_probs = np.log(rng.dirichlet(np.ones(5), size=6))
        phones = [2, 4, 2]
        found = best_path(log_probs, phones)
        states = [0, *phones, 0]
        scores = []
        # Every way to cut six frames into the states, silence at either end optional.
        for first, last in ((0, 4), (0, 3), (1, 4), (1, 3)):
            used = states[first : last + 1]
            for cuts in combinations(range(1, 6), len(used) - 1):
                path = np.repeat(used, np.diff([0, *cuts, 6]))
                scores.append(log_probs[np.arange(6), path].sum())
        assert log_probs[np.arange(6), found].sum() == pytest.approx(max(scores))
    assert best_path(np.zeros((2, 5)), [1, 2, 3]).tolist() == [IGNORED, IGNORED]


def test_pauses_between_digits_are_silence_and_each_digit_follows_its_pronunciation() -> None:
    seven = phone_ids("seven")
    labels = [NO_DIGIT] * 2 + [7] * 5 + [NO_DIGIT] * 3 + [7] * 6 + [NO_DIGIT, 7]
    digits = torch.tensor([[*labels, *[IGNORED] * 2]])
    batch = Batch(
        views=torch.zeros(2, 1, 0),
        mask=torch.zeros(1, 0, dtype=torch.int64),
        phones=torch.full_like(digits, IGNORED),
        digits=digits,
        to_align=np.array([True]),
    )
    logits = torch.zeros(1, 20, len(PHONES))
    logits[0, 12, seven[1]] = 9.0  # in the second one the vowel is heard in its third frame
    found = align_phones(logits, batch)[0].tolist()
    assert found[:2] + found[7:10] + found[16:17] == [phone_index(SILENCE)] * 6
    assert found[2:7] == seven  # five frames, five phones
    assert found[12] == seven[1]
    assert found[17:] == [IGNORED] * 3  # the last digit is cut off, then comes padding


def phone_ids(word: str) -> list[int]:
    return [phone_index(phone) for phone in DIGIT_PHONES[DIGIT_WORDS.index(word)]]
