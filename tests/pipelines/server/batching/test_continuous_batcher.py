"""The batcher against `generate`, and what may not depend on the rest of the batch."""

import random
import time
from copy import deepcopy

import pytest
import torch
from batcher_handle import Remembered

from model import DvseForCausalLM
from pipelines.server.batching.batcher import BatcherStoppedError, QueueFullError

GATE = {"use_token_gate": True}
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}


def prompts(count, *, longest=150, seed=0):
    rng = random.Random(seed)
    return [[rng.randrange(2, 190) for _ in range(rng.randint(1, longest))] for _ in range(count)]


@pytest.mark.parametrize("decoder", [{}, GATE, EXPERTS], ids=["dense", "gate", "experts"])
def test_greedy_answers_are_those_of_generate(make_engine, decoder):
    handle = make_engine(decoder=decoder)
    plain = DvseForCausalLM(deepcopy(handle.model.config)).eval()
    plain.load_state_dict(handle.model.state_dict())
    plain.set_attn_implementation("sdpa")
    shut = (~handle.legal.allowed[3]).nonzero().flatten().tolist()
    for ids in prompts(6):
        expected = plain.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            suppress_tokens=shut,
            eos_token_id=None,
        )[0, len(ids) :].tolist()
        assert handle.answer(ids).ids == expected


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(make_engine):
    handle = make_engine(max_running=16)
    asked = prompts(40)
    alone = [handle.answer(ids).ids for ids in asked]
    for order in (asked, asked[::-1]):
        sinks = [handle.submit(ids) for ids in order]
        together = [sink.wait().ids for sink in sinks]
        assert together == (alone if order is asked else alone[::-1])


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_answers_do_not_depend_on_the_batch_either(make_engine, bits):
    handle = make_engine(bits=bits, decoder={"hidden_size": 64, "num_attention_heads": 4})
    assert handle.batcher._runner._cache.keys.dtype == torch.float32
    asked = prompts(12)
    alone = [[t.logprob for t in handle.answer(i, num_logprobs=0).tokens] for i in asked]
    sinks = [handle.submit(ids, num_logprobs=0) for ids in asked]
    assert [[t.logprob for t in s.wait().tokens] for s in sinks] == alone


def test_logprobs_are_the_same_bits_alone_and_in_a_batch(make_engine):
    handle = make_engine()
    asked = prompts(12)
    alone = [[t.logprob for t in handle.answer(i, num_logprobs=0).tokens] for i in asked]
    sinks = [handle.submit(ids, num_logprobs=0) for ids in asked]
    assert [[t.logprob for t in s.wait().tokens] for s in sinks] == alone


def test_sampled_answers_repeat_by_seed(make_engine):
    handle = make_engine()
    (ids,) = prompts(1)
    first = handle.answer(ids, temperature=1.0, seed=5).ids
    crowd = [handle.submit(p, temperature=1.0) for p in prompts(10, seed=2)]
    assert handle.answer(ids, temperature=1.0, seed=5).ids == first
    assert handle.answer(ids, temperature=1.0, seed=6).ids != first
    for sink in crowd:
        sink.wait()


def test_equal_beginnings_are_computed_once_and_change_nothing(make_engine):
    handle = make_engine()
    start = prompts(1, longest=60)[0][:40] + [5] * 40
    first = handle.answer([*start, 7]).ids
    before = handle.batcher.stats().reused_tokens
    assert handle.answer([*start, 7]).ids == first
    assert handle.batcher.stats().reused_tokens - before == len([*start, 7]) // 16 * 16
    fresh = make_engine(prefix_pages=0)
    assert fresh.answer([*start, 7]).ids == first
    assert fresh.batcher.stats().reused_tokens == 0


def test_ends(make_engine):
    handle = make_engine()
    ids = [3, 4, 5]
    assert handle.answer(ids, max_new_tokens=1).reason == "length"
    by_sink = handle.submit(ids, 50, sink=Remembered(stop_after=3)).wait()
    assert (by_sink.reason, len(by_sink.tokens)) == ("stop", 3)
    to_the_brim = handle.answer([3] * 500, max_new_tokens=100)
    assert (to_the_brim.reason, len(to_the_brim.tokens)) == ("length", 12)
    with pytest.raises(ValueError, match="prompt of 1 to 511"):
        handle.submit([3] * 512)


def test_an_ending_token_ends_an_answer_and_is_no_part_of_it(make_engine):
    handle = make_engine(endless=False)
    sinks = [handle.submit(ids, 400) for ids in prompts(8, longest=20)]
    ended = [sink.wait() for sink in sinks]
    assert any(sink.reason == "stop" for sink in ended)
    for sink in ended:
        assert not set(sink.ids) & set(handle.legal.stop_ids)


def test_cancelled_requests_give_their_place_back(make_engine):
    handle = make_engine(max_running=2)
    sinks = [handle.submit([3, 4], 500) for _ in range(4)]
    while handle.batcher.stats().running < 2:
        time.sleep(0.001)
    for sink in sinks:
        handle.batcher.cancel(sink.number)
    deadline = time.monotonic() + 1.0
    while handle.batcher.stats().running or handle.batcher.stats().waiting:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert handle.batcher.stats().cached_tokens == 0
    assert handle.answer([3, 4]).reason == "length"
    handle.batcher.cancel(10_000)  # unknown numbers are ignored


def test_a_full_queue_says_so(make_engine):
    handle = make_engine(max_running=1, max_waiting=2, start=False)
    handle.submit([3])
    handle.submit([3])
    with pytest.raises(QueueFullError, match="2 requests wait"):
        handle.submit([3])


def test_a_cache_that_is_full_makes_requests_wait_not_fail(make_engine):
    handle = make_engine(cache_tokens=64, prefix_pages=0)
    sinks = [handle.submit([3] * 20, 30) for _ in range(6)]
    assert {len(sink.wait().tokens) for sink in sinks} == {30}
    assert handle.batcher.context == 64


def test_short_prompts_pass_long_ones(make_engine):
    handle = make_engine(step_tokens=32, prefix_pages=0)
    long = handle.submit([3] * 490, 2)
    short = handle.submit([4, 5], 2)
    short.wait()
    assert not long.over.is_set()
    assert long.wait().reason == "length"


def test_an_answer_under_way_gets_a_token_in_each_step_of_a_long_prompt(make_engine):
    handle = make_engine(step_tokens=16, prefix_pages=0)
    running = handle.submit([3, 4], 500)
    while len(running.tokens) < 3:
        time.sleep(0.001)
    seen, steps = len(running.tokens), handle.batcher.stats().steps
    long = handle.submit([5] * 400, 1).wait()
    assert long.reason == "length"
    passed = handle.batcher.stats().steps - steps
    assert len(running.tokens) - seen >= 20  # 400 tokens in parts of 16
    assert len(running.tokens) - seen >= passed - 3
    handle.batcher.cancel(running.number)


def test_a_sink_that_breaks_costs_only_itself(make_engine, caplog):
    class Broken(Remembered):
        def push(self, token):
            raise RuntimeError("no room")

    handle = make_engine()
    broken = handle.submit([3], sink=Broken()).wait()
    assert "no room" in str(broken.error)
    assert handle.answer([3]).reason == "length"


def test_stopping_finishes_what_runs_and_fails_what_waits(make_engine):
    handle = make_engine(max_running=1)
    running, waiting = handle.submit([3], 40), handle.submit([3], 40)
    while not running.tokens:
        time.sleep(0.001)
    handle.batcher.stop(30)
    assert (running.reason, len(running.tokens)) == ("length", 40)
    assert isinstance(waiting.error, BatcherStoppedError)
    with pytest.raises(BatcherStoppedError):
        handle.submit([3])


def test_stopping_fails_what_runs_past_the_deadline(make_engine):
    handle = make_engine(max_running=1)
    running = handle.submit([3], 500)
    while not running.tokens:
        time.sleep(0.001)
    started = time.monotonic()
    handle.batcher.stop(0)
    assert time.monotonic() - started < 5
    assert isinstance(running.error, BatcherStoppedError) or running.reason == "length"


def test_a_model_that_fails_tells_whoever_waits(make_engine):
    handle = make_engine(start=False)
    waiting = handle.submit([3])
    handle.batcher._runner.step = lambda plan: 1 / 0
    handle.batcher.start()
    assert "ZeroDivisionError" in str(waiting.wait().error)
    with pytest.raises(BatcherStoppedError):
        handle.submit([3])
