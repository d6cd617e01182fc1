"""The step that is exported, run by torch: what the decoder itself says, padded rows and cache."""

import pytest
import torch

from model.errors import ModelConfigError
from model.experts import Experts
from model.graph.experts import UnrolledExperts
from model.graph.step import DecoderStep

EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
KINDS = {
    "dense": {},
    "gate": {"use_token_gate": True},
    "experts": EXPERTS,
    "gate and experts": {"use_token_gate": True, **EXPERTS},
}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_decoders(make_model, kind):
    """A prompt with padding on the left, then three tokens one by one."""
    model, twin = make_model(**KINDS[kind]), make_model(**KINDS[kind])
    twin.load_state_dict(model.state_dict())
    step = DecoderStep(twin)
    ids = torch.randint(2, 61, (3, 9))
    mask = torch.ones(3, 9, dtype=torch.int64)
    mask[0, :4] = 0
    past = [torch.zeros(3, 2, 0, 8) for _ in range(4)]
    cache = None
    for _ in range(4):
        positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        logits, *past = step(ids, mask, positions, past)
        wanted = model(
            ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        cache = wanted.past_key_values
        assert logits.shape == (3, 1, 61)
        assert torch.allclose(logits[:, -1], wanted.logits[:, -1], atol=1e-5)
        ids = logits[:, -1].argmax(-1, keepdim=True)
        mask = torch.cat([mask, torch.ones(3, 1, dtype=torch.int64)], dim=1)
    assert len(past) == 4 and past[0].shape == (3, 2, 12, 8)


def test_unrolled_experts_are_the_experts(make_config):
    config = make_config(**EXPERTS)
    experts = Experts(config)
    torch.nn.init.normal_(experts.gate_up_proj)
    torch.nn.init.normal_(experts.down_proj)
    states, chosen = torch.randn(7, 32), torch.tensor([[0, 2]] * 6 + [[2, 1]])  # nobody wants 3
    weights = torch.rand(7, 2)
    with torch.no_grad():
        found = UnrolledExperts(experts)(states, chosen, weights)
        assert torch.allclose(found, experts(states, chosen, weights), rtol=1e-4, atol=1e-4)


def test_positions_that_depend_on_the_prompt(make_model):
    model = make_model()
    model.model.rotary_emb.rope_type = "dynamic"
    with pytest.raises(ModelConfigError, match="length of the prompt"):
        DecoderStep(model)
