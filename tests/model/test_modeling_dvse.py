"""The whole decoder: causality, padding, caches, generation, training, saving, bad input."""

import copy

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM
from transformers.cache_utils import DynamicCache, QuantizedCache, StaticCache

from model import DvseForCausalLM
from model.errors import ContextLengthError, EmptySequenceError, TokenIdError
from model.growing_cache import GrowingLayer

NO_END = {"do_sample": False, "eos_token_id": None}


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_causality(make_model, kind, ids, implementation):
    model = make_model(**kind)
    model.set_attn_implementation(implementation)
    logits = model(ids).logits
    for t in (0, 5, 10):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] - 1) % 59 + 2
        after = model(changed).logits
        assert torch.allclose(after[:, :t], logits[:, :t], atol=1e-5)
        assert not torch.allclose(after[:, t], logits[:, t], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_batch_neighbours_and_padding_change_nothing(make_model, kind, ids, implementation):
    model = make_model(**kind)
    model.set_attn_implementation(implementation)
    lengths = (11, 7, 4)
    alone = [model(row[None, :n]).logits[0] for row, n in zip(ids, lengths, strict=True)]
    for side in ("left", "right"):
        padded, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        places = []
        for i, n in enumerate(lengths):
            place = slice(11 - n, None) if side == "left" else slice(n)
            padded[i, place], mask[i, place] = ids[i, :n], 1
            places.append(place)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = model(padded, attention_mask=mask, position_ids=positions).logits
        for i, place in enumerate(places):
            assert torch.allclose(logits[i, place], alone[i], atol=1e-5), (side, i)


@torch.no_grad()
def test_left_padded_generation_is_that_of_each_alone(make_model, kind, ids):
    model = make_model(**kind)
    padded, mask = ids.clone(), torch.ones_like(ids)
    padded[1, :6], mask[1, :6] = 0, 0
    together = model.generate(padded, attention_mask=mask, max_new_tokens=8, **NO_END)
    for i, start in enumerate((0, 6, 0)):
        row = ids[i : i + 1, start:]
        alone = model.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=8, **NO_END)
        assert torch.equal(together[i, 11:], alone[0, row.shape[1] :])


@torch.no_grad()
def test_cached_as_uncached(make_model, kind, ids):
    model = make_model(**kind)
    whole = model(ids, use_cache=False).logits
    for make_cache in (
        lambda: DynamicCache(config=model.config),
        DynamicCache,
        lambda: StaticCache(config=model.config, max_cache_len=16),
    ):
        cache, parts = make_cache(), []
        for part in ids.split((4, 1, 3, 1, 1, 1), dim=1):
            output = model(part, past_key_values=cache, use_cache=True)
            parts.append(output.logits)
        assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)
        if isinstance(cache, DynamicCache):
            assert type(cache.layers[0]) is GrowingLayer


@torch.no_grad()
@pytest.mark.parametrize(
    "how",
    [
        {"cache_implementation": "dynamic"},
        {"cache_implementation": "static", "disable_compile": True},
        {"num_beams": 3},
        {"use_cache": False},
        {"prompt_lookup_num_tokens": 3},
        {"prefill_chunk_size": 4},
    ],
    ids=lambda how: " ".join(map(str, how)),
)
def test_every_way_of_generating(make_model, kind, ids, how):
    model = make_model(**kind)
    row = ids[:1]
    mask = torch.ones_like(row)
    expected = model.generate(row, attention_mask=mask, max_new_tokens=6, **NO_END)
    ours = model.generate(row, attention_mask=mask, max_new_tokens=6, **how, **NO_END)
    assert ours.shape == (1, 17)
    if "num_beams" not in how:
        assert torch.equal(ours, expected)


@torch.no_grad()
def test_caches_in_lower_precision(make_model, ids):
    model = make_model()
    whole = model(ids).logits
    cache = QuantizedCache(backend="fp8", config=model.config)
    for part in ids.split((6, 1, 1, 1, 1, 1), dim=1):
        logits = model(part, past_key_values=cache, use_cache=True).logits
    assert torch.allclose(logits[:, -1], whole[:, -1], atol=0.5)
    for dtype in (torch.bfloat16, torch.float16):
        low = copy.deepcopy(model).to(dtype)
        low.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, **NO_END)
        cache = DynamicCache(config=low.config)
        logits = low(ids, past_key_values=cache, use_cache=True).logits
        assert cache.layers[0].keys.dtype is dtype
        assert torch.allclose(logits.float(), whole, atol=0.3)


def test_packed_sequences_do_not_see_each_other(make_model, kind, ids):
    model = make_model(**kind)
    rows = ids[0, :6], ids[1, :5]
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    packed = model(torch.cat(rows)[None], position_ids=positions, use_cache=False).logits[0]
    alone = torch.cat([model(row[None]).logits[0] for row in rows])
    assert torch.allclose(packed, alone, atol=1e-5)


def test_gradient_checkpointing_changes_no_gradient(make_model, kind, ids):
    gradients = []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)
        model = make_model(**kind).train()
        if is_checkpointed:
            model.activation_checkpointing_enable()
        model(ids, labels=ids, use_cache=False).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain is not None
        assert torch.allclose(plain, checkpointed, atol=1e-6)


def test_two_layers_memorise_a_small_set(make_model, kind, ids):
    model = make_model(**kind).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    # At a level rate the loss leaps now and then when a route changes; it must not end on a leap.
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=150)
    for _ in range(150):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        schedule.step()
    output = model.eval()(ids, labels=ids)
    assert output.loss < 0.1
    told = model.generate(
        ids[:, :2], attention_mask=torch.ones_like(ids[:, :2]), max_new_tokens=9, **NO_END
    )
    assert torch.equal(told, ids)


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_save_and_load(make_model, kind, ids, tmp_path, shard):
    model = make_model(**kind, gate_thresholds=[0.25, -0.5] if "use_token_gate" in kind else None)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    for loaded in (
        DvseForCausalLM.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
    ):
        assert type(loaded) is DvseForCausalLM
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    base = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(base(ids).last_hidden_state, model.model(ids).last_hidden_state)


@pytest.mark.parametrize("tied", [True, False])
def test_one_embedding(make_model, ids, tmp_path, tied):
    model = make_model(tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    model.save_pretrained(tmp_path)
    loaded = DvseForCausalLM.from_pretrained(tmp_path)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_recorded_outputs(make_model, ids):
    model = make_model(
        use_token_gate=True, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8
    )
    model.set_attn_implementation("eager")
    output = model(
        ids,
        output_gate_logits=True,
        output_router_logits=True,
        output_hidden_states=True,
        output_attentions=True,
    )
    assert [g.shape for g in output.gate_logits] == [(3, 11)] * 2
    assert len(output.router_logits) == 1 and output.router_logits[0].shape[1] == 4
    assert len(output.hidden_states) == 3 and len(output.attentions) == 2
    plain = model(ids)
    assert plain.gate_logits is None and plain.router_logits is None


def test_logits_of_the_last_tokens_only(make_model, ids):
    model = make_model()
    assert torch.allclose(model(ids, logits_to_keep=2).logits, model(ids).logits[:, -2:], atol=1e-6)


def test_compiled_as_eager(make_model, kind, ids):
    model = make_model(**kind)
    if "n_routed_experts" in kind:
        model.set_experts_implementation("batched_mm")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(
            compiled(ids, use_cache=False).logits, model(ids, use_cache=False).logits, atol=1e-5
        )


@pytest.mark.parametrize("bad", [61, -1])
def test_ids_out_of_range(make_model, ids, bad):
    ids[1, 4] = bad
    model = make_model()
    with pytest.raises(TokenIdError, match=rf"between 0 and 60 .*, got {bad} at position \[1, 4\]"):
        model(ids)
    with pytest.raises(IndexError, match="extend_embedding"):
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)


def test_empty_sequence(make_model):
    model = make_model()
    with pytest.raises(EmptySequenceError, match="at least one token"):
        model(torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(EmptySequenceError):
        model(inputs_embeds=torch.zeros(2, 0, 32))


def test_cache_longer_than_the_context(make_model, ids):
    model = make_model(max_position_embeddings=12)
    mask = torch.ones_like(ids)
    model.generate(ids, attention_mask=mask, max_new_tokens=2, **NO_END)
    with pytest.raises(
        ContextLengthError, match=r"holds max_position_embeddings \(12\).* holds 12"
    ):
        model.generate(ids, attention_mask=mask, max_new_tokens=5, **NO_END)
    with pytest.raises(ContextLengthError, match="got one for 13"):
        model(ids, past_key_values=StaticCache(config=model.config, max_cache_len=13))


def test_exactly_one_input(make_model, ids):
    with pytest.raises(ValueError, match="exactly one"):
        make_model()(ids, inputs_embeds=torch.zeros(3, 11, 32))
