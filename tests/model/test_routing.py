import pytest
import torch

from model import record_routing


@torch.no_grad()
def test_counts_are_those_of_the_outputs(make_model, kind, ids):
    model = make_model(**kind)
    expected = model(ids, output_gate_logits=True, output_router_logits=True)
    with record_routing(model) as routing:
        logits = model(ids).logits
    assert torch.equal(logits, expected.logits)
    for index, layer in enumerate(routing.layers):
        share = 1.0
        if "use_token_gate" in kind:
            share = float((expected.gate_logits[index] >= 0).float().mean())
            assert layer.num_tokens == ids.numel()
        assert layer.open_share == pytest.approx(share)
        if "n_routed_experts" in kind and index == 1:
            assert sum(layer.expert_share) == pytest.approx(1.0)
            assert layer.imbalance >= 1.0
        else:
            assert layer.expert_share == () and layer.imbalance == 0.0


@torch.no_grad()
def test_nothing_is_left_behind(make_model, ids):
    model = make_model(use_token_gate=True)
    with record_routing(model) as routing:
        model(ids)
    model(ids)
    assert routing.layers[0].num_tokens == ids.numel()
