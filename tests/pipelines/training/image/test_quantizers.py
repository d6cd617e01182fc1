"""Every kind that trains becomes one that tokenises with the same codes."""

import pytest
import torch

pytest.importorskip("vector_quantize_pytorch")

from dvse.errors import ConfigError
from pipelines.training.image.quantizers import make_quantizer
from pipelines.training.image.settings import QuantizerConfig

CONFIGS = [
    QuantizerConfig(kind="cosine", num_codes=20, code_dim=4),
    QuantizerConfig(kind="cosine", num_codes=12, code_dim=4, num_levels=3),
    QuantizerConfig(kind="ema", num_codes=20, code_dim=4),
    QuantizerConfig(kind="ema", num_codes=12, code_dim=8, num_levels=3),
    QuantizerConfig(kind="simvq", num_codes=20, code_dim=4),
    QuantizerConfig(kind="simvq", num_codes=12, code_dim=4, num_levels=2),
    QuantizerConfig(kind="fsq", lattice=(5, 4, 3)),
    QuantizerConfig(kind="fsq", lattice=(3,) * 8),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.num_levels}-{c.code_dim}")
def test_what_is_exported_gives_the_codes_and_features_of_training(config):
    torch.manual_seed(0)
    trained = make_quantizer(8, config)
    for _ in range(3):
        trained(torch.randn(4, 50, 8))
    trained.eval()
    features = torch.randn(4, 50, 8)
    with torch.no_grad():
        found = trained(features)
        exported = trained.export()
        codes = exported.encode(features.flatten(0, 1))
        assert codes.shape == (200, config.num_levels)
        assert torch.equal(codes, found.codes.flatten(0, 1))
        torch.testing.assert_close(
            exported.decode(codes), found.features.flatten(0, 1), atol=1e-5, rtol=1e-4
        )
    assert (exported.num_codes, exported.num_levels) == (config.num_codes, config.num_levels)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.num_levels}-{c.code_dim}")
def test_gradients_reach_the_encoder_also_in_half_precision(config):
    torch.manual_seed(0)
    features = torch.randn(4, 50, 8, requires_grad=True)
    trained = make_quantizer(8, config)
    with torch.autocast("cpu", torch.bfloat16):
        found = trained(features)
    assert found.features.dtype == torch.float32
    (found.features.square().sum() + found.commitment).backward()
    assert torch.isfinite(features.grad).all() and features.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["cosine", "ema"])
def test_dead_codes_are_revived(kind):
    here, there = torch.tensor([0.0, 5.0]), torch.tensor([5.0, 0.0])

    def used(revive_below):
        """K-means lays half of the codes where no feature ever comes again."""
        torch.manual_seed(0)
        config = QuantizerConfig(kind=kind, num_codes=16, code_dim=2, revive_below=revive_below)
        trained = make_quantizer(2, config)
        trained(torch.cat([torch.randn(1, 200, 2) + here, torch.randn(1, 200, 2) + there], 1))
        for _ in range(250):  # an unused code's average falls below one in about a hundred steps
            found = trained(0.7 * torch.randn(1, 400, 2) + here)
        return len(found.codes.unique())

    assert used(1.0) >= 15
    assert used(0.0) <= 11


def test_levels_lower_the_error():
    features = torch.randn(1, 500, 6, generator=torch.Generator().manual_seed(1))
    errors = []
    for num_levels in (1, 2, 4):
        torch.manual_seed(0)
        config = QuantizerConfig(kind="ema", num_codes=8, code_dim=6, num_levels=num_levels)
        trained = make_quantizer(6, config)
        for _ in range(10):
            trained(features)
        errors.append(float((trained.eval()(features).features - features).square().mean()))
    assert errors[0] > 1.3 * errors[1] > 1.3 * errors[2]


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "vq"},
        {"kind": "fsq"},
        {"kind": "ema", "lattice": (5, 5)},
        {"kind": "fsq", "lattice": (5, 2)},
        {"kind": "fsq", "lattice": (5, 5), "num_levels": 2},
        {"num_codes": 1},
        {"code_dim": 0},
        {"num_levels": 0},
        {"decay": 1.0},
        {"revive_below": -1.0},
    ],
)
def test_settings_that_do_not_fit(settings):
    with pytest.raises(ConfigError):
        QuantizerConfig(**settings)
