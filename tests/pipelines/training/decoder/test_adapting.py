"""What of a decoder learns, row by row of its embedding."""

import torch

from model import DvseForCausalLM, preset
from pipelines.training.decoder.adapting import let_learn
from pipelines.training.decoder.recipe import DecoderTraining


def test_of_an_embedding_that_is_padded_the_new_rows_learn_and_nothing_else():
    torch.manual_seed(0)
    decoder = DvseForCausalLM(preset("tiny", vocab_size=50)).train()
    let_learn(decoder, DecoderTraining(learns="new rows"), range(30, 45))
    table = decoder.get_input_embeddings().weight
    assert [weight is table for weight in decoder.parameters() if weight.requires_grad] == [True]
    ids = torch.arange(25, 45)[None]
    decoder(input_ids=ids, labels=ids).loss.backward()
    # The head is the same table, so each row would have a gradient.
    assert table.grad.abs().sum(1).nonzero().flatten().tolist() == list(range(30, 45))
