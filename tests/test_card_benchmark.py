"""The benchmark of one graphics card, with a small shape on a processor: it has to work there."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parent / "bench"


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's module, with little to do."""
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("bench_card")
    for name, value in (("_BATCHES", (1, 2)), ("_PROMPT", 8), ("_PAIRS", 1)):
        monkeypatch.setattr(module, name, value)
    yield module
    for name in ("bench_card", "bench_model", "timing"):
        sys.modules.pop(name, None)


def test_each_kind_of_weights_has_its_rows(bench, monkeypatch):
    monkeypatch.setenv("DVSE_BENCH_SHAPE", "tiny")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = list(bench.rows())
    kinds, phases = ("fp16", "int8", "int4"), ("prefill_1", "decode_1", "prefill_2", "decode_2")
    assert [row.name for row in rows] == [f"card.{k}.{p}" for k in kinds for p in phases]
    assert all(row.ours > 0 and row.peer > 0 and row.ratio > 0 for row in rows)
    assert all("tiny, cpu" in row.note for row in rows)


def test_both_sides_have_the_same_weights(bench):
    """What is compared says the same: only then is one of them faster."""
    config, cpu = bench.preset("tiny"), torch.device("cpu")
    ours = bench._ours(config, torch.float32, cpu)
    peer = bench._peer(config, ours, torch.float32, cpu)
    ids = torch.arange(2, 14).view(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, peer(ids).logits, atol=1e-5, rtol=0)


def test_without_a_card_there_is_nothing_to_measure(bench, monkeypatch):
    monkeypatch.delenv("DVSE_BENCH_SHAPE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(bench.rows()) == []
