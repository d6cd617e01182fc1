"""A small decoder in a batcher."""

import pytest
import torch
from batcher_handle import Handle

from dvse.vocabulary import Vocabulary
from model import DvseConfig, DvseForCausalLM, quantize
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.batching.config import BatchingConfig
from pipelines.server.batching.continuous_batcher import ContinuousBatcher
from pipelines.server.batching.runner import LocalRunner

VOCABULARY = Vocabulary.create(text_size=200)


@pytest.fixture(scope="session")
def decoder_fields():
    return {
        "vocab_size": VOCABULARY.size,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }


@pytest.fixture
def make_engine(decoder_fields):
    """Call it with fields of `BatchingConfig`, and `decoder=` fields of the model.

    `drafter(model, legal, config)` makes one; `bits` are the weights'.
    """
    batchers = []

    def make(*, decoder=None, endless=True, start=True, drafter=None, bits=None, **fields):
        torch.manual_seed(0)
        config = DvseConfig(**{**decoder_fields, **(decoder or {})})
        model = DvseForCausalLM(config).eval()
        if bits is not None:
            quantize(model, bits=bits, group_size=32)
        legal = LegalTokens(VOCABULARY, vocab_size=config.vocab_size)
        if endless:
            legal.allowed[:, legal.stop_ids] = False
        sizes = {"cache_tokens": 2048, "prefix_pages": 8, "chunk": 16, "step_tokens": 64}
        batching = BatchingConfig(**{**sizes, **fields})
        runner = LocalRunner(model, cache_tokens=batching.total_tokens)
        batcher = ContinuousBatcher(
            runner,
            legal=legal,
            context=config.max_position_embeddings,
            config=batching,
            drafter=drafter and drafter(model, legal, batching),
        )
        if start:
            batcher.start()
        batchers.append(batcher)
        return Handle(batcher, model, legal)

    yield make
    for batcher in batchers:
        batcher.stop(0)
