"""Every vector of a stream has the same chance to stay."""

import numpy as np

from pipelines.codebooks.kmeans import Reservoir


def test_a_sample_is_uniform_over_the_stream() -> None:
    counts = np.zeros(40)
    for seed in range(400):
        sample = Reservoir(capacity=10, seed=seed)
        for start in range(0, 40, 8):
            sample.add(np.arange(start, start + 8, dtype=np.float32)[:, None])
        assert sample.num_seen == 40
        counts[sample.vectors[:, 0].astype(int)] += 1
    # Each of 40 is expected 100 times, with a standard deviation of about 9.
    assert counts.sum() == 4_000
    assert np.abs(counts - 100).max() < 45
