"""The stem that pools: shapes, the picture before it, and its first convolution by two formulas."""

import pytest
import torch
from torch.nn import functional as F

from dvse.errors import ConfigError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.pooled_stem import PooledStem
from dvse.image.rotary_vit import rotary_options

OPTIONS = rotary_options(img_size=32, patch_size=4, embed_dim=24, depth=1, num_heads=2)


def config(**changes) -> EncoderConfig:
    return EncoderConfig(name="vit_small_patch16_rope_224", options=OPTIONS, **changes)


def test_an_encoder_takes_any_grid_and_keeps_its_width():
    encoder = ImageEncoder(config(stem_widths=(8, 16), stem_top=40)).eval()
    with torch.no_grad():
        assert encoder(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 8, 8, 24)
        assert encoder(torch.zeros(1, 56, 72, 3, dtype=torch.uint8)).shape == (1, 14, 18, 24)
    assert encoder.backbone.patch_embed.proj.layers[-1].weight.shape == (24, 40, 1, 1)


def test_the_first_convolution_is_one_in_training_too():
    """In training it is a matrix product; the second formula is torch's own convolution."""
    torch.manual_seed(0)
    first = PooledStem([8, 16], 32, 24).train().layers[0][0]
    x = torch.randn(2, 3, 12, 8)
    expected = F.conv2d(x, first.weight, padding=1)
    torch.testing.assert_close(first(x), expected, atol=1e-5, rtol=1e-5)
    first(x).square().sum().backward()
    found, first.weight.grad = first.weight.grad.clone(), None
    F.conv2d(x, first.weight, padding=1).square().sum().backward()
    torch.testing.assert_close(found, first.weight.grad, atol=1e-3, rtol=1e-4)


def test_a_picture_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    encoder = ImageEncoder(config(stem_widths=(8, 16), stem_top=40)).eval()
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    others = pixels.clone()
    others[1:] = 0
    with torch.no_grad():
        assert torch.equal(encoder(pixels)[0], encoder(others)[0])


@pytest.mark.parametrize(
    "changes", [{"stem_top": 8}, {"stem_top": -1, "stem_widths": (8, 16)}, {"stem_top": "wide"}]
)
def test_settings_that_do_not_fit(changes):
    with pytest.raises(ConfigError, match="stem_top"):
        config(**changes)
