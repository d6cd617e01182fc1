import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError, UnsafeFileError
from dvse.image.encoder import EncoderConfig, ImageEncoder

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}


def config(**changes) -> EncoderConfig:
    return EncoderConfig(**{"name": "vit_tiny_patch16_224", "options": SMALL, **changes})


def pixels(n=2, height=32, width=32) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8))


def full_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **SMALL).eval()


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
@pytest.mark.parametrize("norm", [True, False])
def test_any_layer_is_the_one_of_the_whole_model(layer, norm, tmp_path):
    """The second formula: run the blocks by hand on timm's own whole model."""
    model = full_model()
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    encoder = ImageEncoder(
        config(layer=layer, norm=norm, mean=mean, std=std), pretrained=tmp_path / "vit.safetensors"
    ).eval()
    x = (pixels().float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(x.permute(0, 3, 1, 2)))
        for block in model.blocks[: layer % 3 + 1]:
            tokens = block(tokens)
        expected = (model.norm(tokens) if norm else tokens)[:, 1:].reshape(2, 4, 4, 24)
        found = encoder(pixels())
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    assert (encoder.dim, encoder.patch_size) == (24, 8)


def test_unused_blocks_and_head_are_not_kept():
    names = set(ImageEncoder(config(layer=0, norm=False)).state_dict())
    assert not [n for n in names if "blocks.1" in n or "head" in n or n.startswith("backbone.norm")]


def test_conv_stem_and_other_grids():
    options = {
        **SMALL,
        "patch_size": 4,
        "dynamic_img_size": True,
        "class_token": False,
        "use_abs_pos_emb": False,
        "global_pool": "avg",
    }
    encoder = ImageEncoder(
        EncoderConfig(name="vit_small_patch16_rope_224", options=options, stem_widths=(8, 16))
    ).eval()
    with torch.no_grad():
        assert encoder(pixels()).shape == (2, 8, 8, 24)
        assert encoder(pixels(1, 64, 64)).shape == (1, 16, 16, 24)
        assert encoder(pixels(1, 56, 72)).shape == (1, 14, 18, 24)
    with pytest.raises(ConfigError, match="stem"):
        ImageEncoder(config(stem_widths=(8, 16)))


def test_normalize_round_trip():
    encoder = ImageEncoder(config(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)))
    assert torch.equal(encoder.denormalize(encoder.normalize(pixels())), pixels())


@pytest.mark.parametrize(
    "name", ["beit_base_patch16_224", "deit3_small_patch16_224", "vit_small_patch16_dinov3"]
)
def test_other_families(name):
    options = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}
    encoder = ImageEncoder(EncoderConfig(name=name, options=options)).eval()
    with torch.no_grad():
        assert encoder(pixels()).shape == (2, 2, 2, 24)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "no_such_vit"},
        {"name": ""},
        {"options": {"no_such_option": 1}},
        {"layer": 3},
        {"layer": -4},
        {"layer": 1.5},
        {"std": (0, 1, 1)},
        {"mean": (0.5,)},
    ],
)
def test_wrong_settings(changes):
    with pytest.raises(ConfigError):
        ImageEncoder(config(**changes))


def test_wrong_weights(tmp_path):
    path = tmp_path / "vit.safetensors"
    with pytest.raises(BundleNotFoundError):
        ImageEncoder(config(), pretrained=path)
    torch.save(full_model().state_dict(), path)
    with pytest.raises(UnsafeFileError, match="pickle"):
        ImageEncoder(config(), pretrained=path)
    path.write_bytes(b"nonsense")
    with pytest.raises(BundleFormatError):
        ImageEncoder(config(), pretrained=path)
    tensors = full_model().state_dict()
    del tensors["blocks.1.mlp.fc1.weight"]
    save_file(tensors, path)
    with pytest.raises(BundleFormatError, match="missing"):
        ImageEncoder(config(), pretrained=path)
    ImageEncoder(config(layer=0), pretrained=path)  # the layer does not need that block
    tensors = timm.create_model("vit_tiny_patch16_224", **{**SMALL, "embed_dim": 48}).state_dict()
    save_file(tensors, path)
    with pytest.raises(BundleFormatError):
        ImageEncoder(config(), pretrained=path)
