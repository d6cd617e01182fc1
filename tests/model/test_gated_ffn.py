"""Skipping FFNs, and the faults of the article's listing."""

import pytest
import torch

from model.gated_ffn import run_gated

LOGITS = torch.tensor([[1.0, -1.0, 2.0], [-3.0, 0.0, -0.1]])
OPEN = torch.tensor([[True, False, True], [False, True, False]])


def double(x):
    return 2 * x


@pytest.mark.parametrize("training", [True, False])
def test_residual_is_kept_open_or_closed(training):
    # The article returns x on a skip and ffn(x), without residual, otherwise; and calls .item(),
    # which cannot decide for a batch of two.
    x, residual = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    y = run_gated(double, x, residual, LOGITS, 0.0, training=training)
    expected = torch.where(OPEN[..., None], residual + 2 * x, residual)
    assert torch.allclose(y, expected)


def test_closed_tokens_are_not_computed():
    seen = []

    def ffn(x):
        seen.append(x.clone())
        return x

    x = torch.randn(2, 3, 4)
    run_gated(ffn, x, x, LOGITS, 0.0, training=False)
    assert torch.equal(torch.cat(seen), x[OPEN])


@pytest.mark.parametrize("is_open, num_calls", [(True, 1), (False, 0)])
def test_one_token_reads_the_weights_only_if_open(is_open, num_calls):
    calls = []
    logits = torch.tensor([[1.0 if is_open else -1.0]])
    x = torch.randn(1, 1, 4)
    run_gated(lambda h: calls.append(1) or h, x, x, logits, 0.0, training=False)
    assert len(calls) == num_calls


def test_gradient_of_the_gate():
    # d/dlogit Σ w·(residual + gate·ffn(x)) = σ'(logit) · Σ w·ffn(x), closed tokens included.
    logits = LOGITS.double().requires_grad_()
    x, w = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double()
    (w * run_gated(torch.tanh, x, x, logits, 0.5, training=True)).sum().backward()
    p = torch.sigmoid(logits.detach() - 0.5)
    assert torch.allclose(logits.grad, p * (1 - p) * (w * x.tanh()).sum(-1))


def test_gradients_of_the_ffn_in_both_modes():
    # With the decisions fixed, gathering and multiplying by the gate have the same derivative.
    x = torch.randn(2, 3, 4).double().requires_grad_()
    logits = LOGITS.double()
    for training in (True, False):
        assert torch.autograd.gradcheck(
            lambda h, t=training: run_gated(torch.tanh, h, h, logits, 0.0, training=t), (x,)
        )


def test_a_compiled_graph_gives_the_same():
    x, residual = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    compiled = torch.compile(run_gated, backend="eager", fullgraph=True)
    eager = run_gated(double, x, residual, LOGITS, 0.0, training=False)
    assert torch.equal(compiled(double, x, residual, LOGITS, 0.0, training=False), eager)


def test_gates_are_causal_where_the_articles_are_not(make_model, ids):
    # The article averages over all positions, so that a later token closes an earlier one's FFN.
    model = make_model(use_token_gate=True)
    changed = ids.clone()
    changed[:, -1] = 2
    with torch.no_grad():
        before = model(ids, output_gate_logits=True).gate_logits
        after = model(changed, output_gate_logits=True).gate_logits
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[:, :-1], b[:, :-1])
        assert a.unique().numel() > 3


def test_the_model_skips_what_it_says(make_model, ids):
    # Poisoned weights: what is not read cannot hurt.
    model = make_model(use_token_gate=True, gate_thresholds=[1e9, 1e9])
    with torch.no_grad():
        clean = model(ids).logits
        for layer in model.model.layers:
            for weight in layer.mlp.parameters():
                weight.fill_(torch.nan)
        assert torch.equal(model(ids).logits, clean)
        assert torch.isfinite(
            model.generate(
                ids, max_new_tokens=3, output_scores=True, return_dict_in_generate=True
            ).scores[0]
        ).all()


def test_fresh_gates_are_open(make_model, make_config, ids):
    from model import DvseForCausalLM

    dense = make_model()
    gated = DvseForCausalLM(make_config(use_token_gate=True)).eval()
    missing = gated.load_state_dict(dense.state_dict(), strict=False).missing_keys
    assert all("token_gate" in name for name in missing)
    with torch.no_grad():
        assert torch.equal(gated(ids).logits, dense(ids).logits)
        assert torch.equal(gated.train()(ids).logits, dense(ids).logits)
