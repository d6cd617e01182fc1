import dataclasses

import pytest
import torch
from scipy.stats import chisquare

from dvse.vocabulary import Vocabulary
from pipelines.answering.legal_tokens import LegalTokens, Phase
from pipelines.server.batching.batcher import GenerationRequest, Sampling
from pipelines.server.batching.constraint import Constraint
from pipelines.server.batching.sampling import Chooser, Sampler

LEGAL = LegalTokens(Vocabulary.create(text_size=6), vocab_size=384)
SAMPLER = Sampler(LEGAL)


def chooser(**fields):
    rules = {rule.name for rule in dataclasses.fields(Sampling)}
    sampling = {k: fields.pop(k) for k in rules & set(fields)}
    request = GenerationRequest(
        prompt_ids=fields.pop("prompt_ids", [1]),
        max_new_tokens=9,
        sampling=Sampling(**sampling),
        **fields,
    )
    return Chooser(request, LEGAL)


def logits(*values):
    row = torch.full((384,), -20.0)
    row[: len(values)] = torch.tensor(values)
    return row


def test_greedy_takes_the_likeliest_legal_token():
    row = logits(1.0, 3.0, 2.0)
    row[300] = 9.0  # a code, never part of an answer
    assert SAMPLER.choose(row[None], [chooser()])[0].id == 1


def test_thinking_opens_with_think_and_leaves_it_by_its_end():
    one = chooser(thinking=True)
    row = logits(1.0, 3.0)
    assert SAMPLER.choose(row[None], [one])[0].id == LEGAL.think_id
    one.push(LEGAL.think_id)
    row[LEGAL.end_think_id] = 5.0
    assert SAMPLER.choose(row[None], [one])[0].id == LEGAL.end_think_id
    one.push(LEGAL.end_think_id)
    assert one.phase == Phase.FIRST


def draws(count, values, **rules):
    one = chooser(seed=1, **rules)
    row = logits(*values)[None].expand(count, -1)
    # One answer's draws, one after another.
    return [SAMPLER.choose(row[:1], [one])[0].id for _ in range(count)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    values = (0.0, 1.0, 2.0)
    found = torch.bincount(torch.tensor(draws(2000, values, temperature=temperature)), minlength=3)
    assert int(found[3:].sum()) <= 1  # the others have a share of e^-20
    found = found[:3].double()
    expected = torch.softmax(torch.tensor(values).double() / temperature, dim=0) * found.sum()
    assert chisquare(found.numpy(), expected.numpy()).pvalue > 1e-3


def test_top_p_keeps_the_fewest_that_reach_it():
    values = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).tolist()
    assert set(draws(200, values, temperature=1.0, top_p=0.5)) == {0}
    assert set(draws(200, values, temperature=1.0, top_p=0.6)) == {0, 1}
    assert set(draws(200, values, temperature=1.0, top_p=0.9)) == {0, 1, 2}


@pytest.mark.parametrize("temperature", [1e-3, 1e-9, 1.8e-65])
def test_a_tiny_temperature_is_greedy_and_not_nan(temperature):
    assert set(draws(20, (1.0, 1.5, -3.0), temperature=temperature)) == {1}


def test_a_seed_repeats_whatever_stands_beside_it():
    rows = torch.randn(3, 384, generator=torch.Generator().manual_seed(0))
    alone = [chooser(temperature=1.0, seed=7)]
    first = [SAMPLER.choose(rows[:1], alone)[0].id for _ in range(8)]
    beside = [chooser(temperature=1.0, seed=7), chooser(temperature=1.3, top_p=0.5), chooser()]
    again = [SAMPLER.choose(rows, beside)[0].id for _ in range(8)]
    assert first == again and len(set(first)) > 1


def test_logprobs_are_of_the_model_before_temperature():
    row = logits(1.0, 3.0, 2.0)
    (token,) = SAMPLER.choose(row[None], [chooser(num_logprobs=2)])
    expected = torch.log_softmax(row, dim=0)
    assert token.logprob == pytest.approx(float(expected[1]))
    assert [i for i, _ in token.top] == [1, 2]
    assert [p for _, p in token.top] == pytest.approx([float(expected[1]), float(expected[2])])


def test_top_k_and_min_p_keep_the_likeliest():
    values = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).tolist()
    assert set(draws(200, values, temperature=1.0, top_k=2)) == {0, 1}
    assert set(draws(200, values, temperature=1.0, top_k=1)) == {0}
    assert set(draws(200, values, temperature=1.0, min_p=0.25)) == {0, 1, 2}
    assert set(draws(200, values, temperature=1.0, min_p=1.0)) == {0}
    # Of the two that are left, the first alone has 0.5 / 0.8 of the probability.
    assert set(draws(200, values, temperature=1.0, top_k=2, top_p=0.6)) == {0}
    assert set(draws(200, values, temperature=1.0, top_p=0.0)) == {0}


def said(values, tokens, **rules):
    """The next greedy token after an answer of `tokens`."""
    one = chooser(**rules)
    for token in tokens:
        one.push(token)
    return SAMPLER.choose(logits(*values)[None], [one])[0].id


def test_frequency_counts_and_presence_does_not():
    values = (3.0, 2.5, 1.0)
    assert said(values, [0], frequency_penalty=0.4) == 0  # 3 - 0.4 > 2.5
    assert said(values, [0, 0], frequency_penalty=0.4) == 1  # 3 - 0.8 < 2.5
    assert said(values, [0, 0, 0], presence_penalty=0.4) == 0
    assert said(values, [0], presence_penalty=0.6) == 1
    assert said(values, [1], frequency_penalty=-1.0) == 1  # 2.5 + 1 > 3
    # What the prompt says counts for neither.
    assert said(values, [], prompt_ids=[0, 0], frequency_penalty=2.0) == 0


def test_repetition_divides_what_is_above_nothing_and_multiplies_what_is_below():
    assert said((3.0, 2.5), [], prompt_ids=[0], repetition_penalty=1.1) == 0  # 2.73
    assert said((3.0, 2.5), [], prompt_ids=[0], repetition_penalty=1.3) == 1  # 2.31
    assert said((-1.0, -1.5, -9.0), [0], prompt_ids=[5], repetition_penalty=1.2) == 0
    assert said((-1.0, -1.5, -9.0), [0], prompt_ids=[5], repetition_penalty=2.0) == 1


def test_a_bias_is_added_and_log_probabilities_are_of_the_model():
    assert said((3.0, 2.5), [], logit_bias=((0, -1.0),)) == 1
    assert said((3.0, 2.5, 0.0), [], logit_bias=((2, 100.0),)) == 2
    one = chooser(logit_bias=((0, -100.0),), num_logprobs=0)
    row = logits(3.0, 2.5)
    (token,) = SAMPLER.choose(row[None], [one])
    assert token.logprob == pytest.approx(float(torch.log_softmax(row, 0)[1]))


def test_an_id_that_is_no_text_stays_shut_whatever_its_bias():
    assert said((1.0, 0.0), [], logit_bias=((300, 100.0),)) == 0


class Nothing(Constraint):
    """Allows no id."""

    def allowed(self):
        return torch.zeros(384, dtype=torch.bool)

    def push(self, token_id):
        raise AssertionError


def test_an_answer_without_a_way_on_costs_the_others_nothing():
    rows = logits(1.0, 3.0)[None].expand(3, -1)
    beside = [chooser(), chooser(constraint=Nothing()), chooser(temperature=1.0, seed=1)]
    first, stuck, last = SAMPLER.choose(rows, beside)
    assert (first.id, stuck) == (1, None) and last is not None


def test_a_character_that_has_begun_is_ended_first():
    pieces = [b"a", b"\xc3", b"\xa9", b"b", b"c", b"d"]  # C3 A9 is é
    legal = LegalTokens(Vocabulary.create(text_size=6), vocab_size=384, pieces=pieces)
    one = Chooser(GenerationRequest(prompt_ids=[1], max_new_tokens=9, sampling=Sampling()), legal)
    row = logits(1.0, 2.0, -5.0)
    row[legal.stop_ids[0]] = 9.0
    told = []
    for _ in range(3):
        (token,) = Sampler(legal).choose(row[None], [one])
        one.push(token.id)
        told.append(token.id)
    assert told == [1, 2, legal.stop_ids[0]]
