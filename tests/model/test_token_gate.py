import math

import torch

from model.token_gate import TokenGate, budget_loss, straight_through


def test_gate_is_computed_in_fp32_and_per_token():
    gate, x = TokenGate(4), torch.randn(2, 3, 4)
    logits = gate(x)
    assert logits.shape == (2, 3)
    expected = x @ gate.weight[0] + gate.bias
    assert torch.allclose(logits, expected, atol=1e-6)
    assert gate.to(torch.bfloat16)(x.bfloat16()).dtype is torch.float32


def test_straight_through_is_hard_in_value_and_soft_in_gradient():
    logits = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    gate = straight_through(logits, threshold=1.0)
    assert gate.tolist() == [0.0, 0.0, 1.0]
    gate.sum().backward()
    p = [1 / (1 + math.exp(-(x - 1.0))) for x in (-2.0, 0.5, 3.0)]
    assert torch.allclose(logits.grad, torch.tensor([q * (1 - q) for q in p]))


def test_budget_by_hand():
    logits = (torch.tensor([[1.0, -1.0, 1.0, 1.0]]), torch.tensor([[-1.0, -1.0, 1.0, -1.0]]))
    mask = torch.tensor([[0, 1, 1, 1]])
    # shares without the padded first token: 2/3 and 1/3, on average 1/2
    assert torch.allclose(budget_loss(logits, [0.0, 0.0], 0.75, mask), torch.tensor(0.0625))
    # with it: 3/4 and 1/4
    assert torch.allclose(budget_loss(logits, [0.0, 0.0], 0.25), torch.tensor(0.0625))


def test_budget_gradient_is_that_of_the_soft_share():
    # d/dx (mean(σ) - target)², with the hard share in the outer factor.
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    budget_loss((logits,), [0.3], 0.9).backward()
    hard = (logits >= 0.3).double().mean()
    p = torch.sigmoid(logits - 0.3)
    assert torch.allclose(logits.grad, 2 * (hard - 0.9) * p * (1 - p) / 10)


def test_budget_pulls_the_share_to_its_target():
    logits = torch.full((1, 64), 2.0) + torch.randn(1, 64) * 0.5
    gate = torch.nn.Parameter(logits)
    optimizer = torch.optim.Adam([gate], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        budget_loss((gate,), [0.0], 0.75).backward()
        optimizer.step()
    assert abs(float((gate >= 0).float().mean()) - 0.75) < 0.05
