"""Resampling equals torchaudio's over the whole signal, however the stream is cut."""

import tracemalloc

import numpy as np
import pytest
import torch
from torchaudio.functional import resample
from torchaudio.transforms import Resample

from dvse.audio.resampling import resample_stream
from dvse.errors import ConfigError


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)


def streamed(samples: np.ndarray, rate_hz: int, new_rate_hz: int, sizes: list[int]) -> np.ndarray:
    blocks, start = [], 0
    while start < len(samples):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(samples[start : start + size])
        start += size
    out = list(resample_stream(blocks, rate_hz, new_rate_hz))
    return np.concatenate([np.zeros(0, np.float32), *out])


@pytest.mark.parametrize(
    ("rate_hz", "new_rate_hz"),
    [
        (44_100, 16_000),
        (48_000, 16_000),
        (8_000, 16_000),
        (16_000, 8_000),
        (96_000, 8_000),
        (11_025, 16_000),
        (22_050, 16_000),
        (32_000, 8_000),
    ],
)
@pytest.mark.parametrize("num_samples", [1, 37, 5_000, 60_001])
def test_equals_torchaudio(rate_hz: int, new_rate_hz: int, num_samples: int) -> None:
    samples = noise(num_samples)
    expected = Resample(rate_hz, new_rate_hz)(torch.from_numpy(samples)).numpy()
    found = streamed(samples, rate_hz, new_rate_hz, [num_samples])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(
    "rates", [(44_100, 16_000), (8_000, 16_000), (15_999, 16_000), (16_001, 8_000)]
)
@pytest.mark.parametrize("sizes", [[1000], [7, 4096, 1], [12_345]])
def test_is_bit_equal_however_the_stream_is_cut(rates: tuple[int, int], sizes: list[int]) -> None:
    samples = noise(70_000)
    whole = streamed(samples, *rates, [len(samples)])
    np.testing.assert_array_equal(streamed(samples, *rates, sizes), whole)


def test_the_direct_filter_has_torchaudios_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(9_000)
    for rates in ((44_100, 16_000), (8_000, 16_000), (16_000, 8_000), (1_009, 997)):
        expected = resample(torch.from_numpy(samples).double(), *rates).numpy()
        monkeypatch.setattr("dvse.audio.resampling._MAX_TABLE", 0)
        np.testing.assert_allclose(streamed(samples, *rates, [2000]), expected, atol=2e-6)


def test_an_awkward_rate_needs_little_memory() -> None:
    rate_hz = 15_999
    times = np.arange(2 * rate_hz) / rate_hz
    samples = np.sin(2 * np.pi * 440 * times).astype(np.float32)
    tracemalloc.start()
    found = streamed(samples, rate_hz, 16_000, [4096])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 32_000
    expected = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    np.testing.assert_allclose(found[100:-100], expected[100:-100], atol=1e-3)
    assert peak < 30e6  # torchaudio's table alone would hold 16,000 x 16,013 weights


def test_no_sound_above_the_new_band() -> None:
    times = np.arange(48_000) / 48_000
    samples = np.sin(2 * np.pi * 6_000 * times).astype(np.float32)
    found = streamed(samples, 48_000, 8_000, [5_000])
    assert np.abs(found[200:-200]).max() < 0.01


def test_equal_rates_pass_untouched_and_rates_below_one_do_not() -> None:
    samples = noise(100)
    np.testing.assert_array_equal(streamed(samples, 8_000, 8_000, [9]), samples)
    with pytest.raises(ConfigError, match="above 0"):
        list(resample_stream([samples], 0, 8_000))


def test_threads_do_not_change_a_sample() -> None:
    samples = noise(120_000)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(streamed(samples, 44_100, 16_000, [len(samples)]))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)
