import numpy as np

from pipelines.evaluation.robustness import add_noise, compress, gain, shift_pixels, shift_samples


def test_changes_are_as_small_as_they_say():
    samples = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    noise = add_noise(samples) - samples
    assert abs(noise.std() / np.sqrt((samples**2).mean()) - 0.05) < 0.001
    assert np.array_equal(shift_samples(samples), samples[1:])
    assert np.allclose(20 * np.log10(gain(samples) / samples), 0.5, atol=1e-3)
    assert np.array_equal(add_noise(samples), add_noise(samples))


def test_pictures():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    moved = shift_pixels(picture)
    assert np.array_equal(moved[:, 1:], picture[:, :-1])
    assert np.array_equal(moved[:, 0], picture[:, 0])
    assert compress(picture).shape == picture.shape
