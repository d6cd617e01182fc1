"""Quantized projections as one product: the same bits, nothing held twice, apart where need be."""

import copy

import pytest
import torch

from model import DvseConfig, DvseForCausalLM, quantize
from model.joint_product import JointProduct, joint_product
from model.quantized_linear import Int4Linear, Int8Linear

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "attention_bias": True,
}
KINDS = {
    "int8": Int8Linear.of,
    "int4": lambda weight, bias: Int4Linear.of(weight, bias, group_size=32),
}


def layers_of(kind, *, has_bias=False, widths=(128, 32, 16)):
    draws = torch.Generator().manual_seed(0)
    return [
        KINDS[kind](
            torch.randn(width, 64, generator=draws),
            torch.randn(width, generator=draws) if has_bias else None,
        )
        for width in widths
    ]


def decoder(bits):
    torch.manual_seed(0)
    return quantize(DvseForCausalLM(DvseConfig(**SHAPE)).bfloat16(), bits=bits, group_size=32)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 8, 33])
def test_the_same_bits_as_apart(kind, has_bias, rows):
    layers = layers_of(kind, has_bias=has_bias)
    input = torch.randn(2, rows, 64, generator=torch.Generator().manual_seed(1))
    for x in (input, input.bfloat16()):
        apart = torch.cat([layer(x) for layer in layers], dim=-1)
        assert torch.equal(JointProduct(layers).whole(x), apart)


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 4])
def test_a_decoder_answers_as_with_products_apart(bits, monkeypatch):
    ids = torch.arange(2, 12)[None]
    told = []
    for is_joint in (True, False):
        if not is_joint:
            monkeypatch.setattr("model.plain.attention.joint_product", lambda *_: None)
        model = decoder(bits)
        told.append((model(ids).logits, model.generate(ids, max_new_tokens=8, do_sample=False)))
        used = model.model.layers[1].self_attn.joint
        assert (used is not None) == is_joint
    assert torch.equal(told[0][0], told[1][0]) and torch.equal(told[0][1], told[1][1])


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 4])
def test_nothing_is_held_twice_or_saved_differently(bits, tmp_path):
    model = decoder(bits)
    model.save_pretrained(tmp_path / "before")
    held = _bytes(model)
    model(torch.tensor([[5]]))
    attention = model.model.layers[0].self_attn
    assert attention.joint.is_of((attention.q_proj, attention.k_proj, attention.v_proj))
    assert _bytes(model) == held
    model.save_pretrained(tmp_path / "after")
    files = [tmp_path / name / "model.safetensors" for name in ("before", "after")]
    assert files[0].read_bytes() == files[1].read_bytes()
    other = copy.deepcopy(model)  # its integers are its own, and joined still
    assert other.model.layers[0].self_attn.joint.is_of(
        [getattr(other.model.layers[0].self_attn, f"{name}_proj") for name in "qkv"]
    )
    assert torch.equal(other(torch.tensor([[5]])).logits, model(torch.tensor([[5]])).logits)


def _bytes(model):
    held = [buffer.untyped_storage() for buffer in model.buffers()]
    return sum({one.data_ptr(): one.nbytes() for one in held}.values())


def test_apart_where_somebody_looks_or_gradients_are_wanted():
    layers, row = layers_of("int8"), torch.randn(1, 64)
    with torch.no_grad():
        known = joint_product(layers, row, None)
        assert known is not None and joint_product(layers, row, known) is known
        assert joint_product(layers, torch.randn(65, 64), known) is None  # many rows
        handle = layers[1].register_forward_hook(lambda *_: None)
        assert joint_product(layers, row, known) is None
        handle.remove()
        layers[1].weight = layers[1].weight.clone()  # another one was loaded
        again = joint_product(layers, row, known)
        assert again is not None and again is not known
    assert joint_product(layers, row.requires_grad_(), known) is None


def test_apart_where_layers_are_not_alike():
    row = torch.randn(1, 64)
    with torch.no_grad():
        mixed = [layers_of("int8")[0], layers_of("int4")[1]]
        assert joint_product(mixed, row, None) is None
        assert joint_product([torch.nn.Linear(64, 8), layers_of("int8")[0]], row, None) is None
        # Int4's kernel takes whole sixteens: 24 outputs have none alone, 16 + 24 + 24 would.
        assert joint_product(layers_of("int4", widths=(16, 24, 24)), row, None) is None
        first = layers_of("int8")
        biased = layers_of("int8", has_bias=True)
        assert joint_product([first[0], biased[1]], row, None) is None
