"""The fast product gives what torch gives."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model import linear
from model.linear import Linear


@pytest.mark.parametrize("rows", [1, 3, 70])
def test_fast_product(monkeypatch, rows):
    monkeypatch.setattr(linear, "_MIN_WEIGHTS", 0)
    layer, x = Linear(65, 33), torch.randn(2, rows, 65)
    with torch.no_grad():
        assert linear._is_fast(x, layer.weight)
        assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)


@pytest.mark.parametrize("is_avx512", [False, True])
def test_many_rows_take_the_fast_product_where_it_is_one(monkeypatch, is_avx512):
    monkeypatch.setattr(linear, "_IS_AVX512", is_avx512)
    layer, x = Linear(65, 33), torch.randn(513, 65)
    with torch.no_grad():
        assert linear._is_fast(x, layer.weight) == is_avx512
        assert not linear._is_fast(x[:512], layer.weight)  # a small layer
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
