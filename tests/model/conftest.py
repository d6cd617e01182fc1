"""Small decoders for all tests of `model`."""

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

GATE = {"use_token_gate": True}
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
KINDS = {"dense": {}, "gate": GATE, "experts": EXPERTS, "gate and experts": {**GATE, **EXPERTS}}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def make_config():
    """Call it with fields to override."""
    from model import DvseConfig

    def make(**fields):
        defaults = {
            "vocab_size": 61,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "initializer_range": 0.2,
            "pad_token_id": 0,
            "eos_token_id": 1,
        }
        return DvseConfig(**{**defaults, **fields})

    return make


@pytest.fixture
def make_model(make_config):
    """Call it with fields to override; gates are made to differ from token to token."""
    from model import DvseForCausalLM

    def make(**fields):
        model = DvseForCausalLM(make_config(**fields)).eval()
        for layer in model.model.layers:
            if layer.token_gate is not None:
                torch.nn.init.normal_(layer.token_gate.weight)
                torch.nn.init.constant_(layer.token_gate.bias, 0.1)
        return model

    return make


@pytest.fixture(params=KINDS, ids=lambda name: name.replace(" ", "-"))
def kind(request):
    """Fields of a dense model, one with gates, one with experts, one with both."""
    return KINDS[request.param]


@pytest.fixture
def kinds():
    """All four, by name."""
    return KINDS


@pytest.fixture
def ids():
    """Ids `[3, 11]`, none of them padding or end."""
    return torch.randint(2, 61, (3, 11), generator=torch.Generator().manual_seed(1))
