"""The scale of a recording: NumPy's over all samples at once, however they come."""

import numpy as np
import pytest

from dvse.audio.scaling import RecordingScale


@pytest.mark.parametrize("offset", [0.0, 0.3, 900.0])
def test_the_scale_is_numpys_and_does_not_depend_on_blocks(offset):
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(300_001) * 0.01 + offset).astype(np.float32)
    whole = RecordingScale.of([samples], variance_floor=1e-5)
    exact = samples.astype(np.float64)
    assert whole.num_samples == len(samples)
    assert whole.mean == pytest.approx(exact.mean(), rel=1e-12, abs=1e-12)
    assert whole.deviation == pytest.approx(np.sqrt(exact.var() + 1e-5), rel=1e-9)
    for seed in range(3):
        edges = np.sort(np.random.default_rng(seed).integers(0, len(samples), 60))
        assert RecordingScale.of(np.split(samples, edges), variance_floor=1e-5) == whole
    scaled = np.concatenate(list(whole.apply(np.split(samples, [9, 4000]))))
    assert scaled.dtype == np.float32
    assert abs(float(scaled.mean(dtype=np.float64))) < 1e-2
    assert RecordingScale.of([], variance_floor=1.0).num_samples == 0
