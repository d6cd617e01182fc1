"""A batch of fewer rows is taken where it has the bits of a full one, and nowhere else."""

import numpy as np
import pytest
import torch

import dvse
from dvse.items import Image
from dvse.short_batches import ShortBatches


def test_rows_whose_bits_differ_are_not_taken():
    """One to three rows come out otherwise, as with some matrix products."""

    def compute(batch):
        return batch + (1e-7 if len(batch) < 4 else 0)

    short = ShortBatches(compute, torch.rand)
    assert [short.rows((16, 8), 1) for _ in range(4)] == [16, 16, 4, 4]
    assert [short.rows((16, 8), 5) for _ in range(3)] == [16, 16, 8]
    assert short.rows((16, 8), 9) == short.rows((16, 8), 16) == 16
    assert [short.rows((5, 8), 1) for _ in range(3)] == [5, 5, 4]


def test_what_never_has_the_bits_of_a_full_batch():
    def compute(batch):
        return batch * len(batch)

    short = ShortBatches(compute, torch.rand)
    assert [short.rows((16, 8), 1) for _ in range(4)] == [16] * 4


def test_other_settings_are_asked_for_themselves():
    calls = []
    short = ShortBatches(lambda batch: calls.append(len(batch)) or batch, torch.rand)
    for under in ("float32", "bfloat16"):
        assert [short.rows((8, 2), 2, under=under) for _ in range(3)] == [8, 8, 2]
    assert calls == [8, 2, 8, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 19])
def test_pictures_keep_their_codes(count):
    """The slow side: a full batch for each, which is what a fresh tokenizer computes."""
    rng = np.random.default_rng(count)
    pictures = [Image(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]
    tokenizer = dvse.load("tiny")
    chunks = [next(tokenizer.image.preparer.prepare(picture)) for picture in pictures]
    with tokenizer.profile.pinned():
        full = tokenizer.image.embed(chunks)  # nothing is asked before the third time
        codes = tokenizer.image.encode(chunks)
        for _ in range(3):
            short = tokenizer.image.embed(chunks)
            assert all(np.array_equal(a, b) for a, b in zip(full, short, strict=True))
            again = tokenizer.image.encode(chunks)
            assert all(np.array_equal(a, b) for a, b in zip(codes, again, strict=True))


def test_the_callers_random_numbers_stay_his():
    tokenizer = dvse.load("tiny")
    picture = Image(np.zeros((32, 32, 3), np.uint8))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for _ in range(4):
        tokenizer.encode(picture)
    assert torch.equal(torch.rand(1), expected)
