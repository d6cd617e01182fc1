import numpy as np
import pytest

from pipelines.evaluation.measures.picture_quality import learnt_measures, psnr_db, ssim


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


def test_learnt_measures_say_why_they_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    picture = np.zeros((8, 8, 3), np.uint8)
    missing = learnt_measures([picture], [picture])["not_measured"]
    assert set(missing) == {"lpips", "rfid"}
    assert "alexnet" in missing["lpips"]
