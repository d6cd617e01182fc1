"""Guessed tokens change how many steps an answer takes, and nothing else."""

import random
from copy import deepcopy

import pytest
import torch
from batcher_handle import Remembered

from model import DvseForCausalLM
from pipelines.server.batching.drafter import Drafter, ModelDrafter
from pipelines.server.batching.runner import LocalRunner


def prompts(count, *, longest=150, seed=0):
    rng = random.Random(seed)
    return [[rng.randrange(2, 190) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def small_model(*, noise):
    """A drafter whose model is the large one, its weights disturbed."""

    def make(model, legal, config):
        small = DvseForCausalLM(deepcopy(model.config)).eval()
        small.load_state_dict(model.state_dict())
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in small.parameters():
                spread = noise * float(weight.std())
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=spread)
        runner = LocalRunner(small, cache_tokens=config.cache_tokens)
        return ModelDrafter(runner, legal=legal, cache_tokens=config.cache_tokens, num_tokens=4)

    return make


class Rubbish(Drafter):
    """Guesses anything."""

    def __init__(self):
        self.rng, self.over = random.Random(0), []

    def draft(self, sequences):
        for sequence in sequences:
            sequence.draft.extend(self.rng.randrange(2, 190) for _ in range(self.rng.randint(0, 6)))

    def forget(self, number):
        self.over.append(number)


DRAFTERS = {
    "same": small_model(noise=0.0),
    "like": small_model(noise=0.05),
    "other": small_model(noise=1.0),
    "rubbish": lambda *_: Rubbish(),
}


@pytest.mark.parametrize("kind", DRAFTERS)
@pytest.mark.parametrize("rules", [{}, {"temperature": 0.9, "seed": 3, "top_p": 0.9}])
def test_answers_are_those_without_guesses(make_engine, kind, rules):
    asked = prompts(10)
    plain = make_engine()
    expected = [plain.answer(ids, 30, num_logprobs=0, **rules).tokens for ids in asked]
    handle = make_engine(drafter=DRAFTERS[kind])
    alone = [handle.answer(ids, 30, num_logprobs=0, **rules).tokens for ids in asked]
    sinks = [handle.submit(ids, 30, num_logprobs=0, **rules) for ids in asked]
    assert alone == expected  # the log-probabilities, too, bit by bit
    assert [sink.wait().tokens for sink in sinks] == expected


def test_good_guesses_save_steps(make_engine):
    handle = make_engine(drafter=DRAFTERS["same"])
    (ids,) = prompts(1, longest=10)
    assert len(handle.answer(ids, 21).ids) == 21
    found = handle.batcher.stats()
    # one token with the prompt, then five a step
    assert found.steps == 5 and found.accepted_tokens == found.drafted_tokens == 16


def test_an_answer_ends_where_it_would_without_guesses(make_engine):
    for fields in ({"endless": False}, {}):
        plain, handle = make_engine(**fields), make_engine(drafter=DRAFTERS["same"], **fields)
        for ids in prompts(12, seed=4):
            for most in (1, 2, 3, 17):
                expected, found = plain.answer(ids, most), handle.answer(ids, most)
                assert (found.ids, found.reason) == (expected.ids, expected.reason)
        sink = handle.submit(prompts(1)[0], 30, sink=Remembered(stop_after=3))
        assert len(sink.wait().ids) <= 3


def test_a_long_prompt_is_read_in_parts_and_room_comes_back(make_engine):
    handle = make_engine(drafter=DRAFTERS["same"], cache_tokens=512)
    (ids,) = prompts(1, longest=1)
    long = prompts(1, longest=470, seed=9)[0] * 3
    expected = make_engine().answer(long[:470], 20).ids
    for _ in range(4):  # more than the cache holds at once
        assert handle.answer(long[:470], 20).ids == expected
        handle.answer(ids, 20)
    assert handle.batcher.stats().cached_tokens == 0


class Waiting(Remembered):
    """Counts how often a guess was wanted."""

    def __init__(self, on_settle):
        super().__init__()
        self.on_settle = on_settle

    def settle(self):
        self.on_settle(self)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("size", [1, 5])
def test_guesses_from_elsewhere(make_engine, share, size):
    handle = make_engine()
    rng = random.Random(7)
    for ids in prompts(4, seed=3):
        expected = handle.answer(ids, 24).ids

        def guess(done, expected=expected):
            right = expected[done : done + size]
            return [t if rng.random() < share else (t + 1) % 190 for t in right]

        rounds = []

        def go_on(sink, guess=guess, rounds=rounds):
            rounds.append(len(sink.ids))
            handle.batcher.offer(sink.number, guess(len(sink.ids)))

        sink = handle.submit(
            ids, 24, sink=Waiting(go_on), is_drafted=True, draft=tuple(guess(0))
        ).wait()
        assert sink.ids == expected and sink.reason == "length"
        if share == 1.0:
            assert rounds == list(range(size + 1, 24, size + 1))  # those, and one more
        if share == 0.0:
            assert rounds == list(range(1, 24))


def test_who_waits_for_a_guess_costs_no_steps_and_stops_with_the_server(make_engine):
    handle = make_engine()
    ready = []
    sink = handle.submit(prompts(1)[0], 24, sink=Waiting(ready.append), is_drafted=True)
    other = handle.answer(prompts(1, seed=5)[0], 8)
    assert len(other.ids) == 8 and not sink.over.is_set() and len(ready) == 1
    before = handle.batcher.stats()
    assert before.running == 1
    handle.batcher.stop(5)
    assert sink.error is not None


def test_an_answer_that_has_begun_goes_on_in_its_phase(make_engine):
    handle = make_engine()
    (ids,) = prompts(1)
    for thinking in (False, True):
        whole = handle.answer(ids, 20, thinking=thinking).ids
        for done in (1, 5):
            rest = handle.answer(
                [*ids, *whole[:done]], 20 - done, thinking=thinking, begun=done
            ).ids
            assert rest == whole[done:]
