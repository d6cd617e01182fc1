import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model import (
    DvseForCausalLM,
    count_parameters,
    forward_flops,
    kv_bytes_per_token,
    preset,
    quantize,
    tokens_that_fit,
    weight_bytes,
)
from model.errors import ModelConfigError

EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}


def test_9b_by_hand():
    config = preset("9b")
    layer = 4096 * (32 + 2 + 2) * 128 + (32 + 2 + 2) * 128 + 32 * 128 * 4096  # q k v, biases, o
    ffn = 3 * 4096 * 13696
    counts = count_parameters(config)
    assert counts.attention == 40 * layer and counts.dense_ffn == 40 * ffn
    assert counts.total == 40 * (layer + ffn) + 2 * 151552 * 4096 + (2 * 40 + 1) * 4096
    assert kv_bytes_per_token(config) == 40 * 2 * 2 * 128 * 2
    assert weight_bytes(config, "fp16") == 2 * counts.total


def test_parts_add_up(make_model, kind):
    for tied in (True, False):
        model = make_model(**kind, tie_word_embeddings=tied)
        counts = count_parameters(model.config)
        assert counts.total == sum(p.numel() for p in model.parameters())
        assert (counts.head == 0) == tied
        assert (counts.gates > 0) == ("use_token_gate" in kind)
        assert (counts.routed_experts > 0) == ("n_routed_experts" in kind)


def test_experts_use_a_part_for_a_token():
    counts = count_parameters(preset("9b-moe"))
    routed = 27 * 64 * 3 * 2048 * 768
    assert counts.routed_experts == routed
    embedding = 151552 * 2048
    assert counts.active == counts.total - routed * 58 // 64 - embedding + 2048
    assert 9e9 < counts.total < 9.5e9


@torch.no_grad()
def test_flops_as_torch_counts_them(make_model, kind, ids):
    model = make_model(**kind, gate_thresholds=[-1e9, -1e9] if "use_token_gate" in kind else None)
    model.set_attn_implementation("eager")
    if "n_routed_experts" in kind:
        model.set_experts_implementation("batched_mm")
    with FlopCounterMode(display=False) as counter:
        model(ids[:1], use_cache=False)
    ours = forward_flops(model.config, 11)
    angles = 0  # torch counts no product in the rotary angles
    # torch counts the whole square of scores where a causal model needs half and a diagonal.
    square = ours.attention_scores * 11 * 11 / (11 * 12 / 2)
    expected = ours.total - ours.attention_scores + square + angles
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-6)


def test_flops_of_closed_gates():
    config = preset("tiny", use_token_gate=True)
    opened, closed = forward_flops(config, 8), forward_flops(config, 8, open_share=0.0)
    assert closed.ffn == 0 and opened.ffn == 8 * 4 * 6 * 256 * 704
    one_layer = forward_flops(config, 8, open_share=[1, 0, 0, 0])
    assert one_layer.ffn == opened.ffn / 4


def test_quantised_bytes_by_hand():
    config = preset("tiny")
    products = 4 * (256 * (256 + 64 + 64) + 256 * 256 + 3 * 256 * 704)
    rows = 4 * (256 + 64 + 64 + 256 + 2 * 704 + 256)
    rest = count_parameters(config).total - products
    assert weight_bytes(config, "int8") == products + 2 * rows + 2 * rest
    assert weight_bytes(config, "int4") == products // 2 + products // 128 * 4 + 2 * rest
    with pytest.raises(ModelConfigError, match="fp32, fp16, int8, int4"):
        weight_bytes(config, "int3")


@pytest.mark.parametrize("extra", [{}, EXPERTS, {"use_token_gate": True}], ids=str)
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantised_bytes_as_a_quantised_decoder_holds_them(extra, dtype):
    """The sums of the card, experts among them, against the arrays of a decoder."""
    config = preset("tiny", vocab_size=640, hidden_size=256, intermediate_size=512, **extra)
    model = quantize(
        DvseForCausalLM(config).to(torch.bfloat16), bits=8 if dtype == "int8" else 4, group_size=128
    )
    arrays = {t.data_ptr(): t for t in model.state_dict().values()}.values()
    held = sum(t.numel() * t.element_size() for t in arrays)
    # What the sums leave out: a router's biases in float32.
    assert weight_bytes(config, dtype) == pytest.approx(held, rel=2e-4)


def test_what_fits():
    config = preset("9b")
    gib = 1 << 30
    room = 24 * gib - 3 * gib // 2 - weight_bytes(config, "fp16")
    assert tokens_that_fit(config, num_cards=1) == room // 40960
    assert tokens_that_fit(config, num_cards=1, card_bytes=16 * gib) == 0
    # A second card holds a copy of the norms, in fp16; the embedding is cut by its rows.
    both = 2 * (24 * gib - 3 * gib // 2) - weight_bytes(config, "int4")
    both -= 2 * 81 * 4096
    assert tokens_that_fit(config, num_cards=2, weights="int4", cache="int8") == both // 20480


def test_group_factor():
    grouped, full = (preset("9b", num_key_value_heads=n) for n in (2, 32))
    assert kv_bytes_per_token(full) == 16 * kv_bytes_per_token(grouped)


def test_tiny_is_small_and_multiplies_what_it_says():
    config = preset("tiny")
    model = DvseForCausalLM(config)
    assert sum(p.numel() for p in model.parameters()) * 4 < 25e6
    with pytest.raises(ModelConfigError, match="tiny, 9b, 9b-moe"):
        preset("10b")
