"""Requests that come and go in one batch over a paged cache, as a server runs them."""

import pytest
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

NEW = 8
LENGTHS = (3, 11, 6, 1, 9, 30, 2)


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(2, 61, (n,), generator=generator).tolist() for n in LENGTHS]


def paged(**fields):
    # Pages of 4 tokens and few tokens a batch, so that prompts are cut and requests wait.
    defaults = {"page_size": 4, "num_blocks": 40, "max_batch_tokens": 16, "use_cuda_graph": False}
    return ContinuousBatchingConfig(**{**defaults, "max_requests_per_batch": 8, **fields})


def greedy(**fields):
    return GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1, **fields)


def alone(model, prompt, **how):
    row = torch.tensor([prompt])
    settings = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None, **how}
    with torch.no_grad():
        told = model.generate(row, attention_mask=torch.ones_like(row), **settings)
    return told[0, len(prompt) :].tolist()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("shares", [True, False])
def test_each_request_as_if_it_were_alone(make_model, kind, prompts, implementation, shares):
    model = make_model(**kind)
    expected = [alone(model, prompt) for prompt in prompts]
    model.set_attn_implementation(implementation)
    outputs = model.generate_batch(
        prompts, greedy(), paged(allow_block_sharing=shares), progress_bar=False
    )
    told = [output.generated_tokens for _, output in sorted(outputs.items(), key=_number)]
    assert told == expected
    assert model.config._attn_implementation == implementation


def test_requests_that_arrive_later_stream_and_are_cancelled(make_model, kind, prompts):
    model = make_model(**kind)
    expected = [alone(model, prompt) for prompt in prompts]
    manager = model.init_continuous_batching(greedy(), paged())
    manager.start()
    try:
        first = manager.add_request(prompts[1], streaming=True)
        seen = []
        for output in manager.request_id_iter(first):
            seen.append(list(output.generated_tokens))
            if len(seen) == 2:  # the first answer is on its way
                second = manager.add_request(prompts[2])
                dropped = manager.add_request(prompts[5], max_new_tokens=60)
                manager.cancel_request(dropped)
            if output.is_finished():
                break
        result = manager.get_result(second, timeout=60)
        assert result is not None and result.generated_tokens == expected[2]
    finally:
        manager.stop(block=True, timeout=60)
    assert seen[-1] == expected[1]
    assert all(seen[-1][: len(part)] == part for part in seen) and len(seen) == NEW


def test_the_cache_may_be_too_small_for_all(make_model, kind, prompts):
    # Requests wait, or give up their pages and start again; nothing is lost.
    model = make_model(**kind)
    outputs = model.generate_batch(prompts, greedy(), paged(num_blocks=12), progress_bar=False)
    told = [output.generated_tokens for _, output in sorted(outputs.items(), key=_number)]
    assert told == [alone(model, prompt) for prompt in prompts]


def test_each_request_has_its_own_sampling(make_model, prompts):
    model = make_model()
    config = GenerationConfig(
        max_new_tokens=NEW, do_sample=True, temperature=0.9, top_k=20, top_p=0.9, eos_token_id=-1
    )
    manager = model.init_continuous_batching(config, paged(per_request_processors=True, seed=1))
    manager.start()
    try:
        exact = manager.add_request(prompts[1], top_k=1)
        drawn = [manager.add_request(prompts[1], temperature=5.0, top_k=60) for _ in range(3)]
        told = {name: manager.get_result(name, timeout=60) for name in (exact, *drawn)}
    finally:
        manager.stop(block=True, timeout=60)
    assert told[exact].generated_tokens == alone(model, prompts[1])
    assert len({tuple(told[name].generated_tokens) for name in drawn}) > 1


def _number(item):
    return int(item[0].rsplit("_", 1)[-1])
