import pytest
import torch

from dvse.errors import ConfigError
from dvse.image.pixel_decoder import DecoderConfig, PixelDecoder


def test_shapes_and_patch_size():
    decoder = PixelDecoder(DecoderConfig(dim=5, widths=(12, 8, 4), num_blocks=2))
    assert decoder.patch_size == 4
    assert decoder(torch.zeros(2, 3, 7, 5)).shape == (2, 3, 12, 28)
    assert PixelDecoder(DecoderConfig(dim=5, widths=(4,))).patch_size == 1


def test_a_shift_of_codes_is_a_shift_of_pixels():
    """Convolutions only: away from the border the place of a patch does not matter."""
    torch.manual_seed(0)
    decoder = PixelDecoder(DecoderConfig(dim=3, widths=(8, 4), num_blocks=0)).eval()
    grid = torch.randn(1, 12, 12, 3)
    with torch.no_grad():
        whole, moved = decoder(grid), decoder(grid.roll(1, 2))
    torch.testing.assert_close(moved[..., 10:16], whole[..., 8:14], atol=1e-5, rtol=1e-4)


def test_wrong_settings():
    with pytest.raises(ConfigError):
        DecoderConfig(dim=0, widths=(4,))
    with pytest.raises(ConfigError):
        DecoderConfig(dim=4, widths=())
