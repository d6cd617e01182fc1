import pytest
import torch
from transformers.models.glm.modeling_glm import apply_rotary_pos_emb

from model.rotary import rotary_table, rotate, rotate_both


@pytest.mark.parametrize("head_dim, rotary_dim", [(8, 8), (8, 4), (12, 6), (9, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_glm(head_dim, rotary_dim, dtype):
    q, k = torch.randn(2, 3, 5, head_dim, dtype=dtype), torch.randn(2, 1, 5, head_dim, dtype=dtype)
    freqs = torch.randn(2, 5, rotary_dim // 2)
    cos, sin = (torch.cat((f, f), -1).to(dtype) for f in (freqs.cos(), freqs.sin()))
    table = rotary_table(cos, sin, head_dim)
    assert len(table) == (1 if dtype is torch.float32 and head_dim % 2 == 0 else 2)
    tolerance = 1e-6 if dtype is torch.float32 else 0.05
    for ours, theirs in zip(
        (rotate(q, table), rotate(k, table)), apply_rotary_pos_emb(q, k, cos, sin), strict=True
    ):
        assert ours.dtype is dtype
        assert torch.allclose(ours.float(), theirs.float(), atol=tolerance)


def test_rotation_keeps_length_and_gradient():
    x = torch.randn(1, 2, 4, 8, requires_grad=True)
    angle = torch.randn(1, 4, 4)
    both = torch.cat((angle, angle), -1)
    rotated = rotate(x, rotary_table(both.cos(), both.sin(), 8))
    assert torch.allclose(rotated.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    rotated.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("head_dim, rotary_dim", [(8, 8), (12, 6), (9, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 5, 3000])
def test_both_at_once_are_the_same_bits(head_dim, rotary_dim, dtype, length):
    q = torch.randn(2, length, 6, head_dim, dtype=dtype).transpose(1, 2)
    k = torch.randn(2, length, 2, head_dim, dtype=dtype).transpose(1, 2)
    freqs = torch.randn(2, length, rotary_dim // 2)
    cos, sin = (torch.cat((f, f), -1).to(dtype) for f in (freqs.cos(), freqs.sin()))
    table = rotary_table(cos, sin, head_dim)
    expected = rotate(q, table), rotate(k, table)  # with gradients: one array after the other
    with torch.no_grad():
        for ours, wanted in zip(rotate_both(q, k, table), expected, strict=True):
            assert torch.equal(ours, wanted)
