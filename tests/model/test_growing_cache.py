import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, StaticCache

from model.growing_cache import GrowingLayer, let_grow


def feed(layer, steps):
    for step in steps:
        keys, values = layer.update(step, -step)
    return keys, values


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[1] * 200, [5] + [1] * 80, [3, 4, 1, 70, 1]])
def test_as_concatenation(lengths):
    steps = [torch.randn(2, 3, n, 4) for n in lengths]
    ours, theirs = feed(GrowingLayer(), steps), feed(DynamicLayer(), steps)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@torch.no_grad()
def test_no_copy_while_there_is_room():
    layer = GrowingLayer()
    feed(layer, [torch.randn(1, 1, n, 2) for n in (4, 1)])
    start = layer.keys.data_ptr()
    feed(layer, [torch.randn(1, 1, 1, 2)] * 10)
    assert layer.keys.data_ptr() == start and layer.get_seq_length() == 15


@torch.no_grad()
def test_every_operation_of_the_base_class():
    layers = GrowingLayer(), DynamicLayer()
    steps = [torch.randn(2, 1, n, 2) for n in (4, 1, 1)]
    more = torch.randn(4, 1, 1, 2)
    for layer in layers:
        feed(layer, steps)
        layer.crop(-2)
        layer.batch_repeat_interleave(2)
        layer.reorder_cache(torch.tensor([3, 2, 1, 0]))
        feed(layer, [more])
    assert torch.equal(layers[0].keys, layers[1].keys)
    for layer in layers:
        layer.batch_select_indices(torch.tensor([1]))
        feed(layer, [more[:1]])
    assert torch.equal(layers[0].values, layers[1].values)
    layers[0].reset()
    assert layers[0].get_seq_length() == 0
    assert feed(layers[0], [more])[0].shape == (4, 1, 1, 2)
    with pytest.raises(ValueError, match="positive"):
        layers[0].crop(3)


def test_gradients_pass_through():
    layer, step = GrowingLayer(), torch.randn(1, 1, 2, 2, requires_grad=True)
    keys, _ = feed(layer, [step, step])
    keys.sum().backward()
    assert torch.equal(step.grad, torch.full_like(step, 2.0))


def test_only_empty_dynamic_caches_grow(make_config):
    config = make_config()
    full = DynamicCache(config=config)
    full.update(torch.zeros(1, 2, 1, 8), torch.zeros(1, 2, 1, 8), 0)
    static = StaticCache(config=config, max_cache_len=8)
    for cache in (full, static, None):
        let_grow(cache)
    assert type(full.layers[0]) is DynamicLayer
    for cache in (DynamicCache(config=config), DynamicCache()):
        let_grow(cache)
        with torch.no_grad():
            cache.update(torch.zeros(1, 2, 1, 8), torch.zeros(1, 2, 1, 8), 0)
        assert type(cache.layers[0]) is GrowingLayer
