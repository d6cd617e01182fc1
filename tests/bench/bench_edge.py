"""A small model here, the model elsewhere, and a delay between them: round trips, seconds, bytes.

The large model is `tiny`, served by a process of its own; the small one is `tiny` with disturbed
weights, so that it is sometimes wrong. A proxy on loopback delays what passes, each way half of the
delay that a row names, and counts the bytes.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

import torch
from serving import serving
from timing import Row

import dvse
from pipelines.answering.model_directory import load_model
from pipelines.answering.prompts import prompt_row
from pipelines.server.batching.batcher import GenerationRequest, Sink
from pipelines.server.batching.config import BatchingConfig
from pipelines.server.batching.runner import LocalRunner
from pipelines.server.edge.cloud import Cloud
from pipelines.server.edge.edge_batcher import EdgeBatcher
from pipelines.server.edge.settings import EdgeSettings
from pipelines.server.loading import served
from pipelines.server.served_model import ServedModel
from pipelines.tiny.samples import make_samples

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines/support"))
from delaying_proxy import delayed

_NOISE = 0.1
_ROUNDS = 2


class _Timed(Sink):
    """Keeps ids and says when they are complete."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._over = threading.Event()

    def push(self, token) -> bool:
        self.ids.append(token.id)
        return False

    def finish(self, reason) -> None:
        self._over.set()

    def fail(self, error) -> None:
        raise error

    def wait(self) -> list[int]:
        self._over.wait()
        return self.ids


def rows() -> Iterator[Row]:
    """Yield a row a delay: guesses of 8 tokens, against asking for a token at a time."""
    small = _small()
    small.batcher.start()
    with tempfile.TemporaryDirectory() as folder, serving("tiny") as server:
        made = make_samples(Path(folder))
        files = [file for file in made if file.suffix in (".png", ".jpg", ".flac")][::3]
        asked = [_request(small, file) for file in files]
        for delay_ms in (0, 20, 100, 300):
            address = f"http://{server.host}:{server.port}"
            with delayed(address, delay_s=delay_ms / 2000) as proxy:
                found = {}
                for guess in (8, 1):
                    settings = EdgeSettings(cloud=proxy.address, cloud_timeout_s=60.0)
                    cloud = Cloud(settings, small.tokenizer.fingerprint)
                    edge = EdgeBatcher(small.batcher, cloud, num_guessed=guess, most=1)
                    proxy.sent.clear()
                    seconds, tokens = [], 0
                    for _ in range(_ROUNDS):
                        for request in asked:
                            start = time.perf_counter()
                            sink = _Timed()
                            edge.submit(request, sink)
                            tokens += len(sink.wait())
                            seconds.append(time.perf_counter() - start)
                    sent = len(proxy.sent) / len(seconds)
                    found[guess] = (median(seconds), tokens / edge.num_trips, sent)
            size = mean(file.stat().st_size for file in files)
            yield Row(
                name=f"edge.answer_{delay_ms}_ms",
                ours=found[8][0],
                peer=found[1][0],
                ratio=found[1][0] / found[8][0],
                note=f"{len(files)} samples; {found[8][1]:.1f} tokens a round trip; "
                f"{found[8][2]:.0f} bytes sent an answer, files of {size:.0f} bytes; "
                "peer: guesses of one token",
            )
    small.batcher.stop(5)


def _small() -> ServedModel:
    loaded = load_model("tiny", threads=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            spread = _NOISE * float(weight.std())
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=spread)
    config = BatchingConfig(cache_tokens=8192, prefix_pages=32)
    return served(loaded, LocalRunner(loaded.model, cache_tokens=config.total_tokens), config)


def _request(model: ServedModel, file: Path) -> GenerationRequest:
    kind = dvse.Audio if file.suffix == ".flac" else dvse.Image
    ids = model.tokenizer.encode(prompt_row([kind(file)], thinking=True)).ids.tolist()
    return GenerationRequest(prompt_ids=ids, max_new_tokens=64, thinking=True)
