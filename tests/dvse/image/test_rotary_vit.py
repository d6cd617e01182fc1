"""The encoder without timm: bit for bit timm's, or left to timm."""

import pytest
import torch

from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.rotary_vit import RotaryViT, rotary_vit
from dvse.tokenizer import load

OPTIONS = {
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 64,
    "depth": 3,
    "num_heads": 4,
    "dynamic_img_size": True,
    "class_token": False,
    "use_abs_pos_emb": False,
    "global_pool": "avg",
    "num_classes": 0,
}
NAME = "vit_small_patch16_rope_224"
SHAPES = [(16, 32, 32), (1, 64, 64), (4, 16, 64), (5, 28, 52), (2, 4, 256), (3, 4, 4)]


def pictures(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)


def both(config: EncoderConfig) -> tuple[ImageEncoder, ImageEncoder]:
    theirs = ImageEncoder(config).eval()
    for weight in theirs.parameters():
        weight.data.normal_(std=0.2)
    ours = ImageEncoder(config, is_frozen=True).eval()
    ours.load_state_dict(theirs.state_dict())
    layout = torch.channels_last
    return ours.to(memory_format=layout), theirs.to(memory_format=layout)


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(name=NAME, options=OPTIONS),
        EncoderConfig(name=NAME, options=OPTIONS, layer=0, stem_widths=(8, 16)),
        EncoderConfig(name="vit_base_patch16_rope_224", options=OPTIONS, layer=-2, norm=False),
    ],
)
def test_features_are_those_of_timm(config: EncoderConfig) -> None:
    torch.manual_seed(0)
    ours, theirs = both(config)
    assert isinstance(ours.backbone, RotaryViT) and not isinstance(theirs.backbone, RotaryViT)
    assert (ours.dim, ours.patch_size) == (theirs.dim, theirs.patch_size)
    with torch.inference_mode():
        for shape in SHAPES:
            x = pictures(shape)
            assert torch.equal(ours(x), theirs(x)), shape


def test_the_shipped_encoder_is_that_of_timm() -> None:
    ours = load("tiny", threads=1).image.encoder
    assert isinstance(ours.backbone, RotaryViT)
    theirs = ImageEncoder(ours.config).eval()
    theirs.load_state_dict(ours.state_dict())
    theirs = theirs.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for shape in SHAPES:
            x = pictures(shape)
            assert torch.equal(ours(x), theirs(x)), shape


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("vit_small_patch16_224", {}),
        (NAME, {"class_token": True}),
        (NAME, {"mlp_ratio": 2}),
        (NAME, {"depth": True}),
        (NAME, {"num_heads": 5}),
        (NAME, {"num_heads": 32}),
        (NAME, {"dynamic_img_size": 1}),
        (NAME, {"global_pool": "token"}),
    ],
)
def test_what_it_does_not_know_is_timm(name: str, changed: dict) -> None:
    assert rotary_vit(name, {**OPTIONS, **changed}, layer=-1) is None
    assert rotary_vit(NAME, OPTIONS, layer=3) is None
