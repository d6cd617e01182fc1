"""Log-mel frames stand where the encoder's frames stand."""

import numpy as np
import pytest

from pipelines.speech.log_mel import LogMel


@pytest.mark.parametrize("num_samples", [288, 447, 448, 8_000, 8_123])
def test_one_frame_for_each_frame_of_the_encoder(num_samples: int) -> None:
    frames = LogMel(sample_rate_hz=8_000, stride=160, reach=288)(np.ones(num_samples, np.float32))
    assert frames.shape == ((num_samples - 288) // 160 + 1, 40)
    assert frames.dtype == np.float32


def test_a_click_is_in_the_frame_that_is_centred_on_it() -> None:
    samples = np.zeros(8_000, np.float32)
    samples[20 * 160 + 144] = 1.0
    frames = LogMel(sample_rate_hz=8_000, stride=160, reach=288)(samples)
    assert int(frames.mean(1).argmax()) == 20


def test_the_mean_of_each_band_is_taken_off_and_so_is_the_volume() -> None:
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    mel = LogMel(sample_rate_hz=16_000, stride=320, reach=400)
    frames = mel(samples)
    assert frames.shape == (49, 80)
    np.testing.assert_allclose(frames.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(mel(samples * 0.5), frames, atol=1e-3)
