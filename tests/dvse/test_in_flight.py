"""Results come in order and each is its own batch's; a card waits for nobody."""

import contextlib

import pytest
import torch

from dvse import in_flight as module
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


class Card:
    """Notes in which order a card would be told what to do, and on which stream."""

    def __init__(self, monkeypatch):
        self.told, self.stream, self.num_events = [], "computing", 0
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: "copies")
        monkeypatch.setattr(torch.cuda, "Event", lambda: CardEvent(self))
        monkeypatch.setattr(torch.cuda, "stream", self.on)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: CardStream(self))
        monkeypatch.setattr(module, "_on_its_way", lambda values: values)

    @contextlib.contextmanager
    def on(self, stream):
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    def note(self, what):
        self.told.append(f"{self.stream}: {what}")


class CardStream:
    def __init__(self, card):
        self.card = card

    def wait_stream(self, other):
        self.card.note(f"wait for {other}")


class CardEvent:
    def __init__(self, card):
        self.card = card

    def record(self, stream):
        self.number = self.card.num_events
        self.card.num_events += 1

    def synchronize(self):
        self.card.told.append(f"processor: wait for {self.number}")


class CardBatch:
    """A batch that only says what is done with it."""

    def __init__(self, card, number):
        self.card, self.number = card, number

    def pin_memory(self):
        return self

    def to(self, device, *, non_blocking):
        assert non_blocking
        self.card.note(f"copy {self.number}")
        return self

    def record_stream(self, stream):
        assert isinstance(stream, CardStream)
        self.card.note(f"keep {self.number}")


def test_a_batch_goes_to_the_card_while_the_one_before_is_computed(monkeypatch):
    """Without a card: copies have a stream of their own, and only their batch waits for them."""
    card = Card(monkeypatch)

    def compute(batch):
        card.note(f"compute {batch.number}")
        return (batch,)

    batches = ((number, CardBatch(card, number)) for number in range(3))
    for key, (found,) in in_flight(batches, compute, torch.device("cuda")):
        card.told.append(f"result {key}")
        assert found.number == key
    sent = [
        [
            f"copies: copy {n}",
            "computing: wait for copies",
            f"computing: keep {n}",
            f"computing: compute {n}",
        ]
        for n in range(3)
    ]
    arrived = [[f"processor: wait for {n}", f"result {n}"] for n in range(3)]
    assert card.told == [*sent[0], *sent[1], *arrived[0], *sent[2], *arrived[1], *arrived[2]]


@pytest.mark.gpu
def test_on_a_card_results_are_those_of_one_batch_at_a_time():
    device = torch.device("cuda")
    for (_, batch), (_, found) in zip(given(7), in_flight(given(7), compute, device), strict=True):
        wanted = compute(batch.to(device))
        assert all(torch.equal(a, b.cpu()) for a, b in zip(found, wanted, strict=True))
        assert all(one.is_pinned() for one in found)
