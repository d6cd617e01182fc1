import math

import numpy as np
import pytest

from pipelines.codebooks.usage import CodebookUsage, count_codes


def test_usage_of_a_hand_counted_table():
    # Counts 4, 2, 2, 0: entropy 1.5 bits, perplexity 2^1.5.
    usage = count_codes(np.array([1, 1, 0, 0, 0, 0, 2, 2]), 4)
    assert usage.share_used == 0.75
    assert usage.num_dead == 1
    assert usage.num_seen == 8
    assert usage.perplexity == pytest.approx(2**1.5)
    assert usage.counts.tolist() == [4, 2, 2, 0]
    assert usage.ranked.tolist() == [4, 2, 2, 0]
    assert usage.figures()["num_duplicates"] is None


def test_natural_logarithms_by_hand():
    usage = count_codes([0, 0, 0, 2], 4)
    assert usage.share_used == 0.5
    assert usage.ranked.tolist() == [3, 1, 0, 0]
    assert usage.perplexity == pytest.approx(
        math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    )


def test_nothing_was_seen():
    usage = CodebookUsage(counts=np.zeros(3, np.int64))
    assert (usage.share_used, usage.num_dead, usage.num_seen) == (0.0, 3, 0)
