"""Pooled states: the mean by hand, one item at a time, without padding."""

import numpy as np
import pytest
import torch

from dvse.errors import MissingFileError, PromptTooLongError
from dvse.items import Audio, Image, Text
from pipelines.answering.model_directory import load_model
from pipelines.evaluation.pooled_states import pooled_states


@pytest.fixture(scope="module")
def loaded(random_model):
    return load_model(random_model, threads=1)


def test_the_mean_over_the_item(loaded):
    rng = np.random.default_rng(0)
    items = [
        Text("a photo of a frog"),
        Image(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)),
        Audio(rng.uniform(-0.5, 0.5, 8000).astype(np.float32), 16000),
        Text("seven"),
    ]
    found = pooled_states(loaded, items, batch_size=3)
    assert found.dtype == np.float32
    prefix = [loaded.tokenizer.vocabulary.special_id(n) for n in ("[gMASK]", "<sop>", "<|user|>")]
    prefix += loaded.tokenizer.encode(Text("\n")).ids.tolist()
    for item, row in zip(items, found, strict=True):
        own = loaded.tokenizer.encode(item).ids.tolist()
        with torch.no_grad():
            states = loaded.model.model(torch.tensor([prefix + own])).last_hidden_state[0]
        expected = states[len(prefix) :].mean(dim=0).numpy()
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_what_cannot_be_read_is_raised(loaded):
    with pytest.raises(MissingFileError):
        pooled_states(loaded, [Image("missing.png")])
    with pytest.raises(PromptTooLongError, match="holds 512"):
        pooled_states(loaded, [Text("three " * 600)])
