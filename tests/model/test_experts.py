import pytest
import torch
from transformers.models.glm4_moe.configuration_glm4_moe import Glm4MoeConfig
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeMoE

from model.experts import MixtureOfExperts, load_balance_loss


@pytest.fixture
def fields():
    return {
        "n_routed_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 16,
        "n_shared_experts": 2,
        "n_group": 4,
        "topk_group": 2,
        "routed_scaling_factor": 1.7,
    }


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_as_glm_4_5(make_config, fields, implementation):
    ours = MixtureOfExperts(make_config(**fields), 0)
    theirs = Glm4MoeMoE(Glm4MoeConfig(hidden_size=32, **fields))
    for weight in (*ours.parameters(), *ours.buffers()):
        torch.nn.init.normal_(weight, std=0.2)
    theirs.load_state_dict(ours.state_dict())
    ours.config._experts_implementation = implementation
    theirs.experts.config._experts_implementation = "eager"
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_formula_for_one_token(make_config, fields):
    block = MixtureOfExperts(make_config(**fields), 0)
    for weight in (*block.parameters(), *block.buffers()):
        torch.nn.init.normal_(weight.requires_grad_(False), std=0.2)
    block.config._experts_implementation = "eager"
    x = torch.randn(1, 32)
    scores = torch.sigmoid(x @ block.gate.weight.T)[0]
    choice = scores + block.gate.e_score_correction_bias
    groups = choice.view(4, 2).sum(-1).topk(2).indices
    allowed = [2 * int(g) + i for g in groups for i in (0, 1)]
    best = sorted(allowed, key=lambda e: -float(choice[e]))[:3]
    expected = torch.zeros(32)
    for e in best:
        gate, up = (block.experts.gate_up_proj[e] @ x[0]).chunk(2)
        weight = 1.7 * scores[e] / scores[best].sum()
        expected += weight * (block.experts.down_proj[e] @ (torch.nn.functional.silu(gate) * up))
    with torch.no_grad():
        assert torch.allclose(block(x)[0] - block.shared_experts(x)[0], expected, atol=1e-5)


def test_load_balance_is_one_when_even_and_counts_no_padding():
    logits = torch.eye(4) * 8  # four tokens, each to its own expert
    everyone = [torch.ones(4)]
    assert torch.allclose(load_balance_loss((logits,), 1, everyone), torch.tensor(1.0))
    one_sided = torch.zeros(4, 4)
    one_sided[:, 0] = 8.0
    loss = load_balance_loss((one_sided,), 1, everyone)
    p = torch.sigmoid(torch.tensor(8.0)) / (torch.sigmoid(torch.tensor(8.0)) + 1.5)
    assert torch.allclose(loss, 4 * p)
    mixed = torch.cat((logits, one_sided))
    mask = [torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])]
    assert torch.allclose(load_balance_loss((mixed,), 1, mask), torch.tensor(1.0))


def test_the_kernel_can_be_chosen_where_there_are_experts(make_model, ids):
    model = make_model(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8)
    with torch.no_grad():
        logits = {}
        for name in ("eager", "batched_mm", "grouped_mm"):
            model.set_experts_implementation(name)
            logits[name] = model(ids).logits
    assert torch.allclose(logits["eager"], logits["batched_mm"], atol=1e-5)
    assert torch.allclose(logits["eager"], logits["grouped_mm"], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_width_that_the_grouped_kernel_refuses(make_model, ids, dtype):
    width = 12 if dtype is torch.bfloat16 else 7
    model = make_model(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=width)
    model, logits = model.to(dtype), {}
    with torch.no_grad():
        for name in ("eager", "grouped_mm"):
            model.set_experts_implementation(name)
            logits[name] = model(ids).logits
    assert torch.equal(logits["eager"], logits["grouped_mm"])


def test_auxiliary_losses_train_router_and_gates(make_model, ids):
    model = make_model(
        n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, use_token_gate=True
    ).train()
    output = model(ids, labels=ids, output_router_logits=True)
    config = model.config
    rest = config.router_aux_loss_coef * output.aux_loss
    rest = rest + config.gate_loss_coef * output.budget_loss
    plain = model.loss_function(logits=output.logits, labels=ids, vocab_size=config.vocab_size)
    assert torch.allclose(output.loss, plain + rest)
    output.loss.backward()
    layer = model.model.layers[1]
    assert layer.mlp.gate.weight.grad.abs().sum() > 0
    assert layer.token_gate.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("skipped", [1, 2])
def test_load_balance_counts_the_layers_that_ran(make_model, ids, skipped):
    model = make_model(
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=8,
        num_hidden_layers=3,
        first_k_dense_replace=1,
        use_token_gate=True,
    )
    model.config.gate_thresholds = [0.0, 0.0, 0.0]
    model.config.gate_thresholds[skipped] = 1e9
    ran = 3 - skipped
    recorded = model.model(
        ids, output_router_logits=True, output_routed_layers=True, output_gate_logits=True
    )
    assert recorded.routed_layers == (ran,)
    (logits,) = recorded.router_logits
    assert len(logits) == int((recorded.gate_logits[ran] >= 0).sum())
    assert 0 < len(logits) < ids.numel()
    expected = load_balance_loss((logits,), 2, [torch.ones(len(logits))])
    found = model(ids, labels=ids, output_router_logits=True)
    assert torch.equal(found.aux_loss, expected)


def test_load_balance_with_closed_gates_in_evaluation(make_model, ids):
    model = make_model(
        n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, use_token_gate=True
    )
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    model.config.gate_thresholds = [0.0, 0.0]
    assert model(ids, attention_mask=mask, labels=ids, output_router_logits=True).aux_loss > 0
    model.config.gate_thresholds = [1e9, 1e9]
    assert model(ids, attention_mask=mask, labels=ids, output_router_logits=True).aux_loss == 0
