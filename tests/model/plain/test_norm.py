"""The norm in place gives what its formula gives, and what GLM's own module gives."""

import pytest
import torch

from model.norm import RMSNorm
from model.plain.norm import PlainRMSNorm


@pytest.mark.parametrize("kind", [RMSNorm, PlainRMSNorm])
def test_with_and_without_gradients(kind):
    norm, x = kind(7, eps=1e-3), torch.randn(2, 3, 7)
    torch.nn.init.normal_(norm.weight)
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    kept = x.clone()
    with torch.no_grad():
        assert torch.allclose(norm(x), expected, atol=1e-6)
    assert torch.allclose(norm(x), expected, atol=1e-6)
    assert torch.equal(x, kept)
    assert norm(x.half()).dtype is torch.float32  # as GLM's own: the weight's dtype wins


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_as_glm(dtype):
    from transformers.models.glm.modeling_glm import GlmRMSNorm

    ours, theirs = PlainRMSNorm(7, eps=1e-3), GlmRMSNorm(7, eps=1e-3)
    x = torch.randn(2, 3, 7).to(dtype)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [7, 96, 1000])
def test_half_precision_has_the_same_bits_without_gradients(dtype, width):
    norm, x = PlainRMSNorm(width, eps=1e-5).to(dtype), torch.randn(5, 3, width).to(dtype)
    torch.nn.init.normal_(norm.weight)
    expected, kept = norm(x), x.clone()
    with torch.no_grad():
        assert torch.equal(norm(x), expected)
    assert torch.equal(x, kept)
