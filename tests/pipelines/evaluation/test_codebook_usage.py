import numpy as np
import pytest

from pipelines.evaluation.codebook_usage import level_usage, usage_figures


def test_usage_of_a_hand_counted_table():
    # Counts 4, 2, 2, 0: entropy 1.5 bits, perplexity 2^1.5.
    usage = level_usage(np.array([0, 0, 0, 0, 1, 1, 2, 2]), 4)
    assert usage.share_used == 0.75
    assert usage.num_dead == 1
    assert usage.perplexity == pytest.approx(2**1.5)
    assert usage.counts.tolist() == [4, 2, 2, 0]
    assert usage_figures(usage)["num_duplicates"] is None
