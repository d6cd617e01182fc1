"""Grouped attention against repeated keys and values, with and without a mask."""

import pytest
import torch

from model.plain.attention import grouped_attention


def by_hand(q, k, v, mask, scaling):
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.transpose(2, 3) * scaling
    if mask is None and q.shape[2] > 1:
        mask = torch.ones(q.shape[2], k.shape[2]).tril().bool()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("queries, masked", [(1, False), (1, True), (5, True), (5, False)])
def test_as_by_hand(key_heads, queries, masked):
    length = 9 if masked or queries == 1 else queries
    q, k, v = (torch.randn(2, h, n, 8) for h, n in ((4, queries), *[(key_heads, length)] * 2))
    mask = None
    if masked:
        mask = torch.rand(2, 1, queries, length) > 0.3
        mask[..., 0] = True
    ours, weights = grouped_attention(None, q, k, v, mask, scaling=0.3)
    assert weights is None
    assert torch.allclose(ours, by_hand(q, k, v, mask, 0.3), atol=1e-6)
