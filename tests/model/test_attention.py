"""Grouped-query attention against its formula, and against the faults of the article's listing."""

import inspect
import re

import pytest
import torch

from model.attention import GroupedQueryAttention, sdpa_without_repeats
from model.rotary import rotary_table, rotate


def formula(layer, x, table):
    """Head by head, with a loop and no cache: softmax(q·k / √head_dim) over the past."""
    batch, length, _ = x.shape
    heads, dim = layer.config.num_attention_heads, layer.head_dim
    group = heads // layer.config.num_key_value_heads
    q = rotate(layer.q_proj(x).view(batch, length, -1, dim).transpose(1, 2), table)
    k = rotate(layer.k_proj(x).view(batch, length, -1, dim).transpose(1, 2), table)
    v = layer.v_proj(x).view(batch, length, -1, dim).transpose(1, 2)
    out = torch.zeros(batch, length, heads, dim)
    for head in range(heads):
        for t in range(length):
            past = k[:, head // group, : t + 1]
            scores = torch.einsum("bd,bsd->bs", q[:, head, t], past) / dim**0.5
            out[:, t, head] = torch.einsum(
                "bs,bsd->bd", scores.softmax(-1), v[:, head // group, : t + 1]
            )
    return layer.o_proj(out.flatten(2))


def angles(head_dim, length):
    freqs = torch.outer(torch.arange(length), 1 / 100 ** torch.linspace(0, 1, head_dim // 4))
    both = torch.cat((freqs, freqs), dim=-1)[None]
    return rotary_table(both.cos(), both.sin(), head_dim)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("key_value_heads", [1, 2, 4])
def test_formula(make_config, implementation, key_value_heads):
    # Also: every head count of the configuration is used and the scale is that of a head (the
    # article's listing never sets its head count and divides by the width of the model).
    config = make_config(num_key_value_heads=key_value_heads)
    config._attn_implementation = implementation
    layer = GroupedQueryAttention(config, layer_idx=0).eval()
    x, table = torch.randn(2, 6, 32), angles(8, 6)
    mask = torch.full((6, 6), -torch.inf).triu(1)[None, None]
    with torch.no_grad():
        ours, _ = layer(x, table, attention_mask=mask)
        assert torch.allclose(ours, formula(layer, x, table), atol=1e-6)


def test_scale_is_not_that_of_the_model_width(make_config):
    layer = GroupedQueryAttention(make_config(), layer_idx=0)
    assert layer.scaling == 8**-0.5 != 32**-0.5


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_is_causal(make_model, ids, implementation):
    # The article's listing has no mask at all.
    model = make_model()
    model.set_attn_implementation(implementation)
    changed = ids.clone()
    changed[:, 6] = (changed[:, 6] + 1 - 2) % 59 + 2
    with torch.no_grad():
        before, after = model(ids).logits, model(changed).logits
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.equal(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("queries, masked", [(1, False), (1, True), (5, True), (5, False)])
def test_no_repeats_changes_nothing(make_config, queries, masked):
    layer = GroupedQueryAttention(make_config(), layer_idx=0).eval()
    q, k, v = torch.randn(2, 4, queries, 8), torch.randn(2, 2, 9, 8), torch.randn(2, 2, 9, 8)
    if not masked and queries > 1:
        k, v = k[:, :, :queries], v[:, :, :queries]
    mask = (torch.rand(2, 1, queries, 9) > 0.3) if masked else None
    if masked:
        mask[..., 0] = True
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    with torch.no_grad():
        ours, _ = sdpa_without_repeats(layer, q, k, v, mask, scaling=0.3)
    with torch.enable_grad():
        theirs, _ = sdpa_attention_forward(layer, q, k, v, mask, scaling=0.3)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_others_find_where_to_step_in():
    # vLLM reads the source of `forward`: one look-up by this name, and one call of what it gave.
    source = inspect.getsource(GroupedQueryAttention.forward)
    assert source.count("attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(") == 1
    assert len(re.findall(r"\battend\(", source)) == 1
