import pytest
import torch

from model import calibrate_gates, perplexity, record_routing
from model.errors import CalibrationError


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(2, 61, (4, 24), generator=generator) for _ in range(3)]


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("saving", [0.18, 0.3])
@pytest.mark.parametrize("name", ["gate", "gate and experts"])
def test_wanted_saving_is_reached(make_model, kinds, data, name, trained, saving):
    model = make_model(**kinds[name])
    if not trained:
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.token_gate.weight)
    result = calibrate_gates(model, data, saving=saving)
    assert result.is_fitted != trained
    assert saving <= result.saving < saving + 0.02
    assert tuple(model.config.gate_thresholds) == result.thresholds
    assert result.num_tokens == 3 * 4 * 24
    with record_routing(model) as routing, torch.no_grad():
        for batch in data:
            model(batch)
    for layer, share in zip(routing.layers, result.open_share, strict=True):
        assert layer.open_share == pytest.approx(share)


def test_perplexity_before_is_that_of_the_dense_model(make_model, data):
    dense, gated = make_model(), make_model(use_token_gate=True)
    gated.load_state_dict(dense.state_dict(), strict=False)
    other = [data[0][:, :9]]
    result = calibrate_gates(gated, data, evaluation_data=other)
    assert result.perplexity_before == pytest.approx(perplexity(dense, other), rel=1e-5)
    assert result.perplexity_after == pytest.approx(perplexity(gated, other), rel=1e-5)
    assert not gated.training


def test_perplexity_by_hand_and_without_padding(make_model, ids):
    model = make_model()
    mask = torch.ones_like(ids)
    mask[:, 8:] = 0
    with torch.no_grad():
        loss = model(ids[:, :8], labels=ids[:, :8]).loss
    padded = perplexity(model, [{"input_ids": ids, "attention_mask": mask}])
    assert padded == pytest.approx(float(loss.exp()), rel=1e-4)


def test_fitted_gates_predict_what_their_ffn_does(make_model, data):
    from model.gate_fitting import fit_gates

    model = make_model(use_token_gate=True)
    fit_gates(model, data)
    layer, seen = model.model.layers[0], {}
    layer.post_attention_layernorm.register_forward_hook(lambda m, a, o: seen.update(r=a[0], x=o))
    model.config.gate_thresholds = [-1e9, -1e9]
    with torch.no_grad():
        logits = model(data[0], output_gate_logits=True).gate_logits[0]
        effect = layer.mlp(seen["x"]).norm(dim=-1) / seen["r"].norm(dim=-1)
    both = torch.stack((logits.flatten(), effect.log().flatten()))
    assert torch.corrcoef(both)[0, 1] > 0.5


def test_what_cannot_be_calibrated(make_model, data):
    with pytest.raises(CalibrationError, match="use_token_gate=True"):
        calibrate_gates(make_model(), data)
    model = make_model(use_token_gate=True, gate_thresholds=[0.5, 0.5])
    with pytest.raises(CalibrationError, match="no data"):
        calibrate_gates(model, [])
    with pytest.raises(CalibrationError, match="saving must lie between 0 and 0"):
        calibrate_gates(model, data, saving=0.99)
    assert model.config.gate_thresholds == [0.5, 0.5]
