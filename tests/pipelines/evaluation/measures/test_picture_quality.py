import numpy as np
import pytest

from pipelines.evaluation.measures.picture_quality import psnr_db, ssim


def test_psnr_is_over_all_pixels_of_all_pictures():
    zeros = np.zeros((4, 4, 3), np.uint8)
    # Errors 10 and 0 over two pictures: MSE 50.
    found = psnr_db([zeros, zeros], [zeros + 10, zeros])
    assert found == pytest.approx(10 * np.log10(255**2 / 50))


def test_ssim_of_flat_pictures_is_the_luminance_term():
    x, y = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 120, np.uint8)
    c1 = 2.55**2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(x, y) == pytest.approx(expected, rel=1e-9)


def test_ssim_falls_with_noise():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
    little = np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
    much = np.clip(picture + rng.normal(0, 60, picture.shape), 0, 255).astype(np.uint8)
    assert 1 > ssim(picture, little) > 0.95 > ssim(picture, much)


def test_ssim_of_a_picture_without_room_for_a_window_mirrors_its_borders():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    mirrored = np.pad(small, ((8, 8), (8, 8), (0, 0)), mode="symmetric")
    noise = np.clip(mirrored.astype(int) + 9 * (np.indices(mirrored.shape)[0] == 12), 0, 255)
    other = noise[8:16, 8:16].astype(np.uint8)
    assert 0 < ssim(small, other) < 1
