"""8 and 4 bits a weight: by hand, against a second formula, saved and loaded, experts and gates."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from model import (
    DvseConfig,
    DvseForCausalLM,
    WeightOnlyConfig,
    fitting_group_size,
    quantize,
    quantize_calibrated,
)
from model.errors import ModelConfigError
from model.experts import Experts
from model.gptq import gptq
from model.quantized_experts import QuantizedExperts
from model.quantized_linear import (
    Int4Linear,
    Int8Linear,
    dequantize_int4,
    quantize_int4,
    quantize_int8,
    unpack,
)

SIZES = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
KINDS = {
    "dense": {},
    "gated": {"use_token_gate": True},
    "experts": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "n_shared_experts": 1,
    },
}
IDS = torch.randint(0, 200, (2, 9), generator=torch.Generator().manual_seed(0))


def decoder(**extra) -> DvseForCausalLM:
    torch.manual_seed(0)
    return DvseForCausalLM(DvseConfig(**SIZES, **extra)).eval()


def test_int8_by_hand():
    integers, scale = quantize_int8(torch.tensor([[127.0, -63.5, 0.4], [0.0, 0.0, 0.0]]))
    assert integers.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert scale[0] == 1.0


def test_int4_by_hand():
    # A ramp over the whole range is met exactly: scale 1, zero 8, integers 0 … 15.
    row = torch.arange(16.0).repeat(2)
    packed, scale, zero = quantize_int4(row[None], 32)
    assert (scale.item(), zero.item()) == (1.0, 8.0)
    assert unpack(packed)[0].tolist() == [*range(16)] * 2
    assert packed[0, :2].tolist() == [0x10, 0x32]
    assert torch.equal(dequantize_int4(packed, scale, zero)[0], row)


@pytest.mark.parametrize("group_size", [32, 64, 128])
def test_int4_errs_by_less_than_half_a_step_of_the_plain_range(group_size):
    weight = torch.randn(48, 256, generator=torch.Generator().manual_seed(1))
    restored = dequantize_int4(*quantize_int4(weight, group_size))
    grouped = weight.unflatten(-1, (-1, group_size))
    step = (grouped.amax(-1) - grouped.amin(-1)) / 15
    # Of the ranges tried, the plain one is among them: no worse than uniform rounding noise.
    error = (restored - weight).unflatten(-1, (-1, group_size)).square().mean(-1)
    assert (error <= 1.05 * step.square() / 4).all()
    assert error.mean() < step.square().mean() / 12 * 1.05


@pytest.mark.parametrize("rows", [(1,), (3,), (2, 5)])
@pytest.mark.parametrize("width", [48, 52])  # with a kernel, and without one for int4
@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("has_bias", [False, True])
def test_the_kernels_agree_with_the_weights_multiplied_out(rows, width, kind, has_bias):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(width, 128, generator=generator)
    bias = torch.randn(width, generator=generator) if has_bias else None
    layer = Int8Linear.of(weight, bias) if kind == "int8" else Int4Linear.of(weight, bias)
    input = torch.randn(*rows, 128, generator=generator).bfloat16().float()
    wanted = F.linear(input, layer.dequantized(), bias)
    found = layer(input)
    assert found.shape == wanted.shape and found.dtype == torch.float32
    assert torch.allclose(found, wanted, atol=0.02 * wanted.abs().max().item())
    assert layer(input.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bits", "bound"), [(8, 0.02), (4, 0.2)])
def test_saved_and_loaded_bit_for_bit(tmp_path, kind, bits, bound):
    plain = decoder(**KINDS[kind])
    plain.save_pretrained(tmp_path / "plain")
    with torch.no_grad():
        wanted = plain(IDS).logits
        small = quantize(plain, bits=bits, group_size=32)
        found = small(IDS).logits
    assert 0 < (found - wanted).norm() / wanted.norm() < bound
    small.save_pretrained(tmp_path / "small")
    config = WeightOnlyConfig(bits=bits, group_size=32)
    for again in (
        DvseForCausalLM.from_pretrained(tmp_path / "small"),
        DvseForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=config),
    ):
        with torch.no_grad():
            assert torch.equal(again(IDS).logits, found)
        assert again.generate(IDS, max_new_tokens=4, do_sample=False).shape == (2, 13)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("plain", "small")]
    assert sizes[1] < sizes[0]


def test_what_stays_as_it_is():
    small = quantize(decoder(**KINDS["gated"], **KINDS["experts"]), bits=8)
    assert type(small.lm_head).__name__ == "Linear"
    assert small.model.embed_tokens.weight.is_floating_point()
    for layer in small.model.layers:
        assert layer.token_gate.weight.dtype == torch.float32
        assert isinstance(layer.self_attn.q_proj, Int8Linear)
    routed = [layer.mlp for layer in small.model.layers if hasattr(layer.mlp, "experts")]
    assert routed
    for mlp in routed:
        assert isinstance(mlp.experts, QuantizedExperts)
        assert mlp.gate.weight.is_floating_point()
        assert isinstance(mlp.shared_experts.down_proj, Int8Linear)


def test_experts_against_stacks_multiplied_out():
    model = decoder(**KINDS["experts"])
    experts = next(m for m in model.modules() if isinstance(m, Experts))
    small = QuantizedExperts.of(experts, bits=8, group_size=32)
    rows = torch.randn(7, 64).bfloat16().float()
    index = torch.tensor([[0, 1], [1, 2], [3, 0], [2, 3], [0, 2], [1, 3], [2, 0]])
    weights = torch.rand(7, 2)
    with torch.no_grad():
        experts.gate_up_proj.copy_(torch.stack([m.dequantized() for m in small.gate_up_projs]))
        experts.down_proj.copy_(torch.stack([m.dequantized() for m in small.down_projs]))
        wanted = experts(rows, index, weights)
        found = small(rows, index, weights)
    assert torch.allclose(found, wanted, atol=0.03 * wanted.abs().max().item())


@pytest.mark.parametrize("bits", [8, 4])
def test_calibrated_rounding_moves_outputs_less(bits):
    """GPTQ's promise, on inputs that it has not seen: correlated ones, as activations are."""
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(64, 64, generator=generator)
    seen, unseen = (torch.randn(512, 64, generator=generator) @ mixing for _ in range(2))
    weight = torch.randn(32, 64, generator=generator)
    plain = Int8Linear.of(weight, None) if bits == 8 else Int4Linear.of(weight, None, group_size=32)
    found = gptq(weight, seen.T @ seen, bits=bits, group_size=32)
    errors = [
        (unseen @ (layer.dequantized() - weight).T).square().sum() for layer in (found, plain)
    ]
    assert errors[0] < 0.7 * errors[1]


def test_calibrated_without_correlations_is_rounding_to_nearest():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(4))
    found = gptq(weight, torch.eye(64), bits=4, group_size=32)
    assert torch.equal(found.weight, Int4Linear.of(weight, None, group_size=32).weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibrated_decoder(tmp_path, kind):
    """Nearer to the decoder that it was made from, and saved like one that was only rounded."""
    rows = torch.randint(0, 200, (8, 40), generator=torch.Generator().manual_seed(5))
    plain = decoder(**KINDS[kind], initializer_range=0.2)
    with torch.no_grad():
        wanted = plain(IDS).logits
        rounded = quantize(decoder(**KINDS[kind], initializer_range=0.2), bits=4, group_size=32)
        small = quantize_calibrated(plain, rows.split(1), bits=4, group_size=32)
        errors = [(m(IDS).logits - wanted).norm() for m in (small, rounded)]
    assert errors[0] < errors[1]
    small.save_pretrained(tmp_path)
    with torch.no_grad():
        again = DvseForCausalLM.from_pretrained(tmp_path)
        assert torch.equal(again(IDS).logits, small(IDS).logits)
    with pytest.raises(ModelConfigError, match="rows to calibrate on, got none"):
        quantize_calibrated(decoder(), [], bits=8)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_gradients_of_the_input_pass_through(kind):
    generator = torch.Generator().manual_seed(6)
    weight, input, upstream = (
        torch.randn(n, m, generator=generator) for n, m in ((32, 64), (5, 64), (5, 32))
    )
    make = Int8Linear.of if kind == "int8" else partial(Int4Linear.of, group_size=32)
    layer = make(weight, None)
    input.requires_grad_()
    layer(input).backward(upstream)
    torch.testing.assert_close(input.grad, upstream @ layer.dequantized())
    assert not list(layer.parameters())


def test_compiled_and_traced_see_plain_operators():
    small = quantize(decoder(), bits=4, group_size=32)
    with torch.no_grad():
        exported = torch.export.export(
            small.model.layers[0].mlp, (torch.randn(1, 3, 64),), strict=False
        )
        input = torch.randn(1, 3, 64)
        found = exported.module()(input)
        wanted = small.model.layers[0].mlp(input)
    assert torch.allclose(found, wanted, atol=0.05 * wanted.abs().max().item())
    assert "int4pack" not in str(exported.graph)


def test_what_cannot_be():
    with pytest.raises(ModelConfigError, match="bits must be 8 or 4, got 3"):
        WeightOnlyConfig(bits=3)
    with pytest.raises(ModelConfigError, match=r"\[32, 64\] for rows of 64 weights, got 128"):
        quantize(decoder(), bits=4, group_size=128)
    with pytest.raises(ModelConfigError, match="quantized already"):
        quantize(quantize(decoder(), bits=8), bits=8)
    assert fitting_group_size(decoder().config) == 64
    odd = DvseConfig(**SIZES | {"intermediate_size": 130})
    with pytest.raises(ModelConfigError, match="divides rows of"):
        fitting_group_size(odd)


def test_integers_that_begin_anywhere_in_a_file():
    """As safetensors maps them; torch's kernel was seen to crash on 24 bytes behind a boundary."""
    torch.manual_seed(0)
    layer = Int8Linear.of(torch.randn(32, 32), None)
    rows = torch.randn(40, 32).bfloat16()
    expected, integers = layer(rows), layer.weight
    memory = torch.zeros(integers.numel() + 128, dtype=torch.int8)
    start = -memory.data_ptr() % 64 + 24
    layer.weight = memory[start : start + integers.numel()].view_as(integers)
    layer.weight.copy_(integers)
    assert layer.weight.data_ptr() % 64 == 24
    assert torch.equal(layer(rows), expected)
