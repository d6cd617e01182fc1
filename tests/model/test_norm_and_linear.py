"""The two fast paths give what torch gives."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model import linear
from model.linear import Linear
from model.norm import RMSNorm


def test_norm_with_and_without_gradients():
    norm, x = RMSNorm(7, eps=1e-3), torch.randn(2, 3, 7)
    torch.nn.init.normal_(norm.weight)
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    kept = x.clone()
    with torch.no_grad():
        assert torch.allclose(norm(x), expected, atol=1e-6)
    assert torch.allclose(norm(x), expected, atol=1e-6)
    assert torch.equal(x, kept)
    assert norm(x.half()).dtype is torch.float32  # as GLM's own: the weight's dtype wins


@pytest.mark.parametrize("rows", [1, 3, 70])
def test_fast_product(monkeypatch, rows):
    monkeypatch.setattr(linear, "_MIN_WEIGHTS", 0)
    layer, x = Linear(65, 33), torch.randn(2, rows, 65)
    with torch.no_grad():
        assert linear._is_fast(x, layer.weight)
        assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)


def test_where_the_ordinary_product_stays(monkeypatch):
    monkeypatch.setattr(linear, "_MIN_WEIGHTS", 0)
    layer, x = Linear(8, 8), torch.randn(2, 8)
    assert not linear._is_fast(x, layer.weight)  # gradients
    with torch.no_grad():
        assert not linear._is_fast(x.bfloat16(), layer.weight)
        assert not linear._is_fast(x[:0], layer.weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype is torch.bfloat16
        with FlopCounterMode(display=False) as counter:
            layer(x)
        assert counter.get_total_flops() == 2 * 2 * 8 * 8
