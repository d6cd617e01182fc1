"""Answers against a loop written out by hand: no cache, no padding, one prompt at a time."""

from itertools import islice

import numpy as np
import pytest
import torch
from small_model import make_decoder

import dvse
from dvse.errors import ConfigError
from pipelines.answering.answerer import Answerer
from pipelines.answering.model_directory import LoadedModel
from pipelines.answering.settings import AnswerSettings
from pipelines.answering.utf8 import WHOLE

TINY = dvse.load("tiny")
THINK, END_THINK = TINY.vocabulary.special_id("<think>"), TINY.vocabulary.special_id("</think>")


def prompts_of(*lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 9480, n) for n in lengths]


@pytest.fixture(scope="module")
def decoder():
    return make_decoder(max_position_embeddings=96)


@pytest.fixture(scope="module")
def answerer(decoder):
    return Answerer(LoadedModel(name="x", model=decoder, tokenizer=TINY, device="cpu"))


def by_hand(decoder, answerer, prompt, *, max_new_tokens, thinking=False, choose=None):
    """Greedy decoding under the constraint, and the log-probability of what came out."""
    ids, total = list(prompt), 0.0
    phase = answerer.legal.phase([], thinking=thinking)
    character = WHOLE
    while len(ids) < min(len(prompt) + max_new_tokens, answerer.max_length):
        with torch.no_grad():
            logits = decoder(torch.tensor([ids])).logits[0, -1].float()
        logits[~answerer.legal.allowed[phase]] = -torch.inf
        logits[~answerer.legal.utf8.allowed[character]] = -torch.inf
        token = int((logits if choose is None else choose(logits, len(ids))).argmax())
        total += float(logits.log_softmax(0)[token])
        ids.append(token)
        phase = answerer.legal.after(phase, token)
        character = answerer.legal.utf8.after(character, token)
        if token in answerer.legal.stop_ids:
            break
    return ids[len(prompt) :], total


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_greedy_answers_are_those_of_the_loop(decoder, answerer, thinking, batch_size):
    prompts = prompts_of(7, 31, 12, 12, 3)
    settings = AnswerSettings(max_new_tokens=9, thinking=thinking, batch_size=batch_size)
    found = dict(answerer.answer(prompts, settings))
    assert sorted(found) == [0, 1, 2, 3, 4]
    for number, prompt in enumerate(prompts):
        ids, total = by_hand(decoder, answerer, prompt, max_new_tokens=9, thinking=thinking)
        assert list(found[number].token_ids) == ids
        assert found[number].log_probability == pytest.approx(total, abs=1e-3)


def test_a_stop_ends_the_answer_and_its_score(decoder, answerer, monkeypatch):
    """A head that wants `<|user|>` from the second token on."""
    stop = answerer.legal.stop_ids[1]
    bias = torch.zeros(decoder.config.vocab_size)
    bias[stop] = 1e4
    forward = decoder.lm_head.forward
    monkeypatch.setattr(decoder.lm_head, "forward", lambda x: forward(x) + bias)
    (prompt,) = prompts_of(5)
    ((_, answer),) = answerer.answer([prompt], AnswerSettings(max_new_tokens=9))
    ids, total = by_hand(decoder, answerer, prompt, max_new_tokens=9)
    assert len(ids) == 2 and ids[-1] == stop
    assert list(answer.token_ids) == ids
    assert answer.is_complete
    assert answer.text == TINY.text.decode(ids[:1])
    assert answer.log_probability == pytest.approx(total, abs=1e-3)


def test_rows_that_ended_early_score_nothing_more(decoder, answerer, monkeypatch):
    """Of two rows one stops at once and is filled up; its sum must not grow."""
    stop = answerer.legal.stop_ids[0]
    short, long = prompts_of(4, 9)
    forward = decoder.model.forward

    def biased(*args, **kwargs):
        out = forward(*args, **kwargs)
        if out.last_hidden_state.shape[0] == 2:
            wanted = decoder.lm_head.weight[stop] * 1e3
            out.last_hidden_state = torch.cat(
                [wanted.expand_as(out.last_hidden_state[:1]), out.last_hidden_state[1:]]
            )
        return out

    alone = dict(answerer.answer([long], AnswerSettings(max_new_tokens=8)))[0]
    monkeypatch.setattr(decoder.model, "forward", biased)
    found = dict(answerer.answer([short, long], AnswerSettings(max_new_tokens=8)))
    assert found[0].is_complete and len(found[0].token_ids) == 2
    assert not found[1].is_complete
    assert found[1].token_ids == alone.token_ids
    assert found[1].log_probability == pytest.approx(alone.log_probability, abs=1e-3)


def test_sampling_is_a_function_of_prompt_and_seed(answerer):
    prompts = prompts_of(6, 17, 6)
    settings = AnswerSettings(max_new_tokens=8, temperature=1.0, seed=5)
    together = dict(answerer.answer(prompts, settings))
    for number, prompt in enumerate(prompts):
        ((_, alone),) = answerer.answer([prompt], settings)
        assert alone.token_ids == together[number].token_ids
    other = AnswerSettings(max_new_tokens=8, temperature=1.0, seed=6)
    assert dict(answerer.answer(prompts, other))[0].token_ids != together[0].token_ids


def test_sampling_does_not_touch_the_global_generator(answerer):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    list(answerer.answer(prompts_of(5), AnswerSettings(max_new_tokens=3, temperature=1.0)))
    assert torch.equal(torch.rand(4), expected)


def test_the_context_limits_the_answer_and_neighbours_do_not(decoder, answerer):
    prompts = prompts_of(20, 90, 95, 88)
    settings = AnswerSettings(max_new_tokens=40, batch_size=4)
    found = dict(answerer.answer(prompts, settings))
    assert [len(found[n].token_ids) for n in range(4)] == [40, 6, 1, 8]
    for number, prompt in enumerate(prompts):
        ids, _ = by_hand(decoder, answerer, prompt, max_new_tokens=40)
        assert list(found[number].token_ids) == ids


def test_without_a_score_the_answer_is_the_same(answerer):
    (prompt,) = prompts_of(9)
    settings = AnswerSettings(max_new_tokens=5)
    ((_, scored),) = answerer.answer([prompt], settings)
    ((_, plain),) = answerer.answer([prompt], settings, score=False)
    assert plain.log_probability is None
    assert plain.token_ids == scored.token_ids


def test_no_prompts(answerer):
    assert list(answerer.answer([], AnswerSettings())) == []


def test_streamed_ids_are_the_answer(answerer):
    (prompt,) = prompts_of(11)
    settings = AnswerSettings(max_new_tokens=12)
    ((_, answer),) = answerer.answer([prompt], settings)
    assert tuple(answerer.stream(prompt, settings)) == answer.token_ids


def test_a_stream_that_is_closed_stops_the_work(decoder, answerer, monkeypatch):
    calls = []
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    stream = answerer.stream(prompts_of(4)[0], AnswerSettings(max_new_tokens=80))
    assert len(list(islice(stream, 2))) == 2
    stream.close()
    assert len(calls) == 2


def test_between_two_tokens_of_a_stream_gradients_work(answerer):
    stream = answerer.stream(prompts_of(4)[0], AnswerSettings(max_new_tokens=3))
    next(stream)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_an_error_in_the_stream_reaches_the_reader(decoder, answerer, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(decoder, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(answerer.stream(prompts_of(4)[0], AnswerSettings()))


@pytest.mark.parametrize(
    ("ids", "reasoning", "answer"),
    [
        ([1, 2, "stop"], [], [1, 2]),
        (["think", 5, 6, "end", 7, "stop"], [5, 6], [7]),
        (["think", 5, 6], [5, 6], []),
        (["think", "end", 7], [], [7]),
        ([], [], []),
    ],
)
def test_split(answerer, ids, reasoning, answer):
    names = {"think": THINK, "end": END_THINK, "stop": answerer.legal.stop_ids[0]}
    assert answerer.split([names.get(i, i) for i in ids]) == (reasoning, answer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"max_new_tokens": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"seed": -1},
        {"seed": 0.5},
        {"batch_size": 0},
    ],
)
def test_settings_outside_their_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AnswerSettings(**wrong)
