"""The network beside a stem: shapes, its join, and that a picture stands alone."""

import pytest
import torch

from dvse.errors import ConfigError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.encoder_files import describe_encoder, make_encoder
from dvse.image.rotary_vit import rotary_options

OPTIONS = rotary_options(img_size=32, patch_size=4, embed_dim=24, depth=1, num_heads=2)
STEM = {"stem_widths": (8, 16), "stem_top": 40}


def encoder(**changes) -> ImageEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(
        name="vit_small_patch16_rope_224", options=OPTIONS, **{**STEM, **changes}
    )
    return ImageEncoder(config).eval()


def with_context(**changes) -> ImageEncoder:
    made = encoder(context_widths=(8, 16, 12), **changes)
    torch.nn.init.normal_(made.context_stem.join.weight)
    return made


def pictures(*sides: int) -> torch.Tensor:
    return torch.randint(0, 256, (4, *sides, 3), dtype=torch.uint8)


@torch.no_grad()
def test_before_its_join_has_learnt_the_stem_is_alone():
    plain, joined = encoder(), encoder(context_widths=(8, 16, 12))
    assert joined.context_stem is not None and plain.context_stem is None
    shared = {n: t for n, t in joined.state_dict().items() if n in plain.state_dict()}
    assert set(shared) == set(plain.state_dict())
    plain.load_state_dict(shared)
    x = pictures(32, 32)
    assert torch.equal(plain(x), joined(x))


@torch.no_grad()
@pytest.mark.parametrize("sides", [(32, 32), (4, 4), (36, 20), (56, 72)])
def test_each_place_of_the_coarse_grid_reaches_the_patches_below_it(sides):
    """The second formula adds to each patch the place at half its row and half its column."""
    stem = with_context().context_stem
    x = torch.randn(2, 3, *sides)
    seen = stem.join(stem.context(x))
    assert seen.shape[2:] == tuple(-(-side // 8) for side in sides)
    found, patches = stem(x), stem.layers(x)
    for row in range(sides[0] // 4):
        for column in range(sides[1] // 4):
            expected = patches[:, :, row, column] + seen[:, :, row // 2, column // 2]
            torch.testing.assert_close(found[:, :, row, column], expected)


@torch.no_grad()
@pytest.mark.parametrize("stem", [STEM, {"stem_widths": (8, 16), "stem_top": 0}])
def test_it_is_saved_and_loaded_without_timm(stem):
    made = with_context(**stem)
    description = describe_encoder(made)
    assert description["context_widths"] == [8, 16, 12]
    assert "context_widths" not in describe_encoder(encoder())
    light = make_encoder(description).eval()
    light.load_state_dict(made.state_dict())
    x = pictures(32, 32)
    assert torch.equal(light(x), made(x))


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_neighbours():
    made = with_context()
    one = pictures(32, 32)
    others = one.clone()
    others[1:] = 0
    assert torch.equal(made(one)[0], made(others)[0])


@torch.no_grad()
def test_it_halves_at_least_as_often_as_the_stem():
    assert encoder(context_widths=(8, 16))(pictures(8, 12)).shape == (4, 2, 3, 24)
    with pytest.raises(ConfigError, match="at least as many context_widths"):
        encoder(context_widths=(8,))
    with pytest.raises(ConfigError, match="at least as many context_widths"):
        encoder(context_widths=(8, 16), stem_widths=(), stem_top=0)
