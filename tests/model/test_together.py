"""Losses over parts of a batch, in value and gradient those of the whole batch."""

import pytest
import torch

from model.experts import load_balance_loss
from model.token_gate import budget_loss


class Parts:
    """Two processes in one: what each passes is noted first, its sums are handed out afterwards."""

    count = 2

    def __init__(self):
        self.noted, self.sums = [], None

    def add_up(self, tensor):
        if self.sums is None:
            self.noted.append(tensor.clone())
            return tensor
        return self.sums.clone()


def in_two(loss, halves):
    """The mean of the losses of both halves, each of which knows the other."""
    parts = Parts()
    for half in halves:
        loss(half, parts)
    parts.sums = torch.stack(parts.noted).sum(0)
    return (loss(halves[0], parts) + loss(halves[1], parts)) / 2


@pytest.mark.parametrize("is_masked", [False, True])
def test_the_gates_budget(is_masked):
    logits = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()  # two layers, four rows of six tokens
    mask = torch.ones(4, 6, dtype=torch.int64)
    mask[0, :4] = mask[3, 1:3] = 0

    def loss(rows, together=None):
        return budget_loss(
            tuple(logits[:, rows]), [0.2, -0.1], 0.6, mask[rows] if is_masked else None, together
        )

    whole = loss(slice(None))
    (wanted,) = torch.autograd.grad(whole, logits)
    apart = in_two(loss, [slice(0, 2), slice(2, 4)])
    (found,) = torch.autograd.grad(apart, logits)
    torch.testing.assert_close(apart, whole)
    torch.testing.assert_close(found, wanted)


def test_the_balance_of_experts():
    logits = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits.requires_grad_()
    mask = torch.tensor([1.0] * 7 + [0.0] * 2 + [1.0] * 3)

    def loss(rows, together=None):
        return load_balance_loss((logits[rows],), 2, [mask[rows]], together)

    whole = loss(slice(None))
    (wanted,) = torch.autograd.grad(whole, logits)
    apart = in_two(loss, [slice(0, 6), slice(6, 12)])
    (found,) = torch.autograd.grad(apart, logits)
    torch.testing.assert_close(apart, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(found, wanted, atol=1e-7, rtol=0)
    assert not torch.allclose((loss(slice(0, 6)) + loss(slice(6, 12))) / 2, whole, atol=1e-4)
