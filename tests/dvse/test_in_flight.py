"""Results come in order and each is its own batch's; a card waits for nobody."""

import pytest
import torch

from dvse.in_flight import in_flight


def given(count):
    generator = torch.Generator().manual_seed(0)
    for key in range(count):
        yield key, torch.randn(64, 300, generator=generator)


def compute(batch):
    return (batch @ batch.T, batch.sum(1))


def test_on_a_processor_each_result_is_that_of_its_batch():
    found = list(in_flight(given(4), compute, torch.device("cpu")))
    assert [key for key, _ in found] == [0, 1, 2, 3]
    for (_, batch), (_, (products, sums)) in zip(given(4), found, strict=True):
        assert torch.equal(products, batch @ batch.T) and torch.equal(sums, batch.sum(1))
    assert list(in_flight([], compute, torch.device("cpu"))) == []


@pytest.mark.gpu
def test_on_a_card_results_are_those_of_one_batch_at_a_time():
    device = torch.device("cuda")
    for (_, batch), (_, found) in zip(given(7), in_flight(given(7), compute, device), strict=True):
        wanted = compute(batch.to(device))
        assert all(torch.equal(a, b.cpu()) for a, b in zip(found, wanted, strict=True))
        assert all(one.is_pinned() for one in found)
