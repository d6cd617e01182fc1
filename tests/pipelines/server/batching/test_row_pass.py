"""Attention of a row in the batcher against transformers' own."""

import pytest
import torch

from pipelines.server.batching.batcher import QueueFullError


@pytest.mark.parametrize("length", [5, 16, 50])
def test_attention_is_that_of_the_model(make_engine, length):
    handle = make_engine(decoder={"num_hidden_layers": 3})
    ids = torch.randint(2, 200, (length + 7,), generator=torch.Generator().manual_seed(1)).tolist()
    busy = handle.submit([3, 4, 5], 60)
    found = handle.batcher.attention(ids, length, (1, length - 1)).result(60)
    assert len(busy.wait().ids) == 60
    handle.model.set_attn_implementation("eager")
    with torch.inference_mode():
        whole = handle.model(torch.tensor([ids]), output_attentions=True).attentions
    expected = torch.stack(whole)[1:, 0].mean((0, 1))[length:, 1 : length - 1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert handle.batcher.stats().cached_tokens == 0


def test_attention_to_what_comes_later_is_refused(make_engine):
    handle = make_engine(max_waiting=0)
    with pytest.raises(ValueError, match="below 3"):
        handle.batcher.attention([2, 3, 4, 5], 3, (1, 4))
    with pytest.raises(QueueFullError):
        handle.batcher.attention([2, 3, 4, 5], 3, (1, 3))
