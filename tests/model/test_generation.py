"""`generate`: every cache, every way of decoding, compiled graphs, and what it returns."""

import copy
from contextlib import nullcontext

import pytest
import torch
from transformers import CompileConfig, DynamicCache, GenerationMixin, StaticCache

from model import DvseForCausalLM

NO_END = {"do_sample": False, "eos_token_id": None}
ALL_SHOWN = {
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
    "return_dict_in_generate": True,
}


def generate(model, ids, num_new=6, **how):
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": num_new, **NO_END, **how}
    with torch.no_grad():
        return model.generate(ids, **settings)


class NoStream(nullcontext):
    """An offloaded cache copies in a stream of its own, which a CPU does not have."""

    def wait_stream(self, stream):
        assert isinstance(stream, NoStream)


def test_generation_mixin_is_a_base_by_name():
    assert GenerationMixin in DvseForCausalLM.__bases__ and DvseForCausalLM.can_generate()


@pytest.mark.parametrize("cache", ["dynamic", "static", "offloaded", "offloaded_static"])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_exact_caches(make_model, kind, ids, cache, num_beams, monkeypatch):
    monkeypatch.setattr(torch, "Stream", NoStream)
    monkeypatch.setattr(torch.cuda, "default_stream", NoStream)
    model = make_model(**kind)
    expected = generate(model, ids, num_beams=num_beams, use_cache=False)
    ours = generate(
        model, ids, num_beams=num_beams, cache_implementation=cache, disable_compile=True
    )
    assert torch.equal(ours, expected)


def test_quantised_cache(make_model, kind, ids):
    # The first new token comes from the prompt itself, not from the cache: it is exact.
    model = make_model(**kind)
    settings = {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    assert torch.equal(generate(model, ids, **settings)[:, :12], generate(model, ids)[:, :12])


@pytest.mark.parametrize("num_bits", [2, 4])
def test_integer_cache(make_model, ids, num_bits):
    pytest.importorskip("optimum.quanto")
    model = make_model(head_dim=16)
    cache_config = {"backend": "quanto", "nbits": num_bits, "q_group_size": 16}
    settings = {"cache_implementation": "quantized", "cache_config": cache_config}
    assert torch.equal(generate(model, ids, **settings)[:, :12], generate(model, ids)[:, :12])


def test_a_smaller_model_may_guess(make_model, kind, ids):
    model, row = make_model(**kind), ids[:1]
    guesser = make_model(num_hidden_layers=1)
    expected = generate(model, row, num_new=12)
    for how in ({"assistant_model": guesser}, {"assistant_model": copy.deepcopy(model)}):
        assert torch.equal(generate(model, row, num_new=12, **how), expected)
    assert torch.equal(generate(model, row, num_new=12, prompt_lookup_num_tokens=2), expected)
    for layers in (1, model.config.num_hidden_layers - 1):
        early = generate(model, row, num_new=12, assistant_early_exit=layers)
        assert torch.equal(early, expected)
    assert torch.equal(generate(model, row, num_new=12), expected)  # all layers are back


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"num_return_sequences": 2}])
def test_sampling_is_the_same_with_and_without_a_cache(make_model, kind, ids, how):
    model, drawn = make_model(**kind), []
    for use_cache in (True, False):
        torch.manual_seed(7)
        drawn.append(generate(model, ids, do_sample=True, use_cache=use_cache, **how))
    assert torch.equal(*drawn)
    assert drawn[0].shape[0] == 3 * how.get("num_return_sequences", 1)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_every_attention_generates_the_same(make_model, kind, ids, implementation):
    model = make_model(**kind)
    expected = generate(model, ids, num_new=10)
    model.set_attn_implementation(implementation)
    assert torch.equal(generate(model, ids, num_new=10), expected)


@pytest.mark.slow  # compiles for a minute
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")
def test_flex_attention_generates_the_same(make_model, kind, ids):
    test_every_attention_generates_the_same(make_model, kind, ids, "flex_attention")


def test_from_embeddings(make_model, kind, ids):
    model = make_model(**kind)
    embeds, mask = model.get_input_embeddings()(ids), torch.ones_like(ids)
    expected = generate(model, ids, **ALL_SHOWN)
    for how in ({}, {"cache_implementation": "static", "disable_compile": True}):
        ours = model.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=6, **NO_END, **how
        )
        assert torch.equal(ours, expected.sequences[:, 11:])


@torch.no_grad()
def test_going_on_from_a_cache(make_model, kind, ids):
    model = make_model(**kind)
    expected = generate(model, ids, num_new=8)
    for cache in (None, StaticCache(config=model.config, max_cache_len=32)):
        first = generate(
            model,
            ids,
            num_new=5,
            past_key_values=cache,
            return_dict_in_generate=True,
            disable_compile=True,
        )
        again = generate(
            model,
            first.sequences,
            num_new=3,
            past_key_values=first.past_key_values,
            disable_compile=True,
        )
        assert torch.equal(again, expected)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_what_generation_returns(make_model, kind, ids, num_beams):
    model = make_model(**kind)
    model.set_attn_implementation("eager")
    output = generate(model, ids, num_new=4, num_beams=num_beams, **ALL_SHOWN)
    rows = 3 * num_beams
    assert len(output.scores) == len(output.logits) == len(output.attentions) == 4
    assert {score.shape for score in output.scores} == {(rows, 61)}
    for step, (attentions, states) in enumerate(
        zip(output.attentions, output.hidden_states, strict=True)
    ):
        queries = 11 if step == 0 else 1
        assert [a.shape for a in attentions] == [(rows, 4, queries, 11 + step)] * 2
        assert [h.shape for h in states] == [(rows, queries, 32)] * 3
    assert isinstance(output.past_key_values, DynamicCache)
    assert output.past_key_values.layers[1].keys.shape == (rows, 2, 11 + 3, 8)


def test_all_logits_or_the_last(make_model, kind, ids):
    model = make_model(**kind)
    assert torch.equal(generate(model, ids, logits_to_keep=0), generate(model, ids))


def compiled(backend, **fields):
    config = CompileConfig(backend=backend, mode=None, **fields)
    config._compile_all_devices = True  # transformers compiles on a GPU only by itself
    return {"cache_implementation": "static", "compile_config": config}


def test_a_decoding_step_is_one_graph(make_model, kind, ids):
    # The backend that runs a captured graph as it is: capturing is what can fail.
    torch.compiler.reset()
    model = make_model(**kind)
    expected = generate(model, ids, num_new=8)
    ours = generate(model, ids, num_new=8, **compiled("eager", fullgraph=True))
    assert torch.equal(ours, expected)
    assert hasattr(model, "_compiled_call")


@pytest.mark.slow
def test_compiled_for_real(make_model, kind, ids):
    torch.compiler.reset()
    model = make_model(**kind)
    expected = generate(model, ids, num_new=8)
    assert torch.equal(generate(model, ids, num_new=8, **compiled("inductor")), expected)
