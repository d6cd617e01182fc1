"""Run under torchrun by `test_tensor_parallel`: rank 0 answers over half of the heads each."""

import os
import sys

import torch
import torch.distributed as dist
from batcher_handle import Handle

from dvse.vocabulary import Vocabulary
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.batching.config import BatchingConfig
from pipelines.server.batching.continuous_batcher import ContinuousBatcher
from pipelines.server.batching.runner import LocalRunner
from pipelines.server.batching.tensor_parallel import LeadingRunner, follow, load_split


def main() -> None:
    torch.set_num_threads(1)
    model = load_split(sys.argv[1], num_processes=2, dtype="auto")
    config = BatchingConfig(cache_tokens=1024, prefix_pages=8, chunk=16, step_tokens=64)
    local = LocalRunner(model, cache_tokens=config.total_tokens)
    if int(os.environ["RANK"]) > 0:
        follow(local)
    else:
        legal = LegalTokens(Vocabulary.create(text_size=200), vocab_size=model.config.vocab_size)
        batcher = ContinuousBatcher(LeadingRunner(local), legal=legal, context=256, config=config)
        batcher.start()
        handle = Handle(batcher, model, legal)
        sinks = [handle.submit(list(range(2, 2 + n)), 10) for n in (3, 40, 17, 40)]
        looks = batcher.attention(list(range(2, 42)), 30, (1, 20)).result(60)
        print("RESULT", [sink.wait().ids for sink in sinks], flush=True)
        print("LOOKS", looks.sum(1).tolist(), flush=True)
        batcher.stop(5)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
