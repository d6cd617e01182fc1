"""Changed speech keeps its length by the speed, and its noise by the share."""

import numpy as np
import pytest

from pipelines.speech.augmentation import perturb, vary


def test_augmentation_keeps_what_is_said() -> None:
    rng = np.random.default_rng(0)
    samples = np.sin(np.arange(8_000) * 0.2).astype(np.float32)
    assert len(vary(samples, rng, speed=1.25)) == 6_400
    assert len(vary(samples, rng, speed=0.8)) == 10_000
    noisy = perturb(samples, rng, min_noise=0.1, max_noise=0.1)
    assert noisy.dtype == np.float32
    assert np.std(noisy - samples) == pytest.approx(0.1 * np.sqrt(0.5), rel=0.1)
