"""The Gumbel trick samples the softmax, and depends on the seed alone."""

import torch

from pipelines.answering.seeded_sampling import SeededSampling

LOGITS = torch.tensor([2.0, 0.0, 1.0, -1.0])


def frequencies(temperature: float, num: int) -> torch.Tensor:
    sampling = SeededSampling(temperature=temperature, seed=1)
    empty = torch.zeros(1, 0)
    drawn = torch.tensor([int(sampling(empty, LOGITS[None]).argmax()) for _ in range(num)])
    return torch.bincount(drawn, minlength=4) / num


def test_frequencies_are_the_softmax():
    for temperature in (0.5, 1.0, 3.0):
        expected = (LOGITS / temperature).softmax(0)
        error = (expected * (1 - expected) / 4000).sqrt()  # of a mean of 4,000 draws
        assert ((frequencies(temperature, 4000) - expected).abs() < 4 * error).all()


def test_low_temperature_is_greedy():
    assert frequencies(0.01, 200)[0] == 1


def test_what_is_forbidden_stays_forbidden():
    scores = torch.full((1, 50), -torch.inf)
    scores[0, 7] = -30.0
    for seed in range(20):
        out = SeededSampling(temperature=5.0, seed=seed)(torch.zeros(1, 0), scores)
        assert int(out.argmax()) == 7


def test_a_row_does_not_depend_on_its_neighbours():
    rows = torch.randn(5, 30)
    together = SeededSampling(temperature=1.0, seed=9)(torch.zeros(5, 0), rows)
    for n in range(5):
        alone = SeededSampling(temperature=1.0, seed=9)(torch.zeros(1, 0), rows[n : n + 1])
        assert torch.equal(alone[0], together[n])


def test_steps_draw_anew():
    sampling = SeededSampling(temperature=1.0, seed=0)
    first, second = (sampling(torch.zeros(1, 0), torch.zeros(1, 9)) for _ in range(2))
    assert not torch.equal(first, second)
