"""Speech end to end against the bare encoder, in one warm process.

Ours reads FLAC files one ahead in a thread, resamples, encodes and searches the nearest codes. The
peer is the same encoder's forward pass (the same layers) over the same number of seconds of ready
tensors, one recording at a time, with the same number of threads. `ours` and `peer` are seconds of
speech a second; `ratio` is peer time over our time: 1.0 would mean that everything around the
encoder costs nothing. Windows of 30 s: nothing here is long enough to be encoded twice.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import torch
from timing import Row, alternate
from transformers import Wav2Vec2Config, Wav2Vec2Model

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.items import Audio

_NUM_THREADS = 2
_FILE_RATE_HZ = 44_100
_SPEECH_S = (5.0, 9.3, 20.0)
_CLIPS_S = (0.5,) * 12


def rows() -> Iterator[Row]:
    """Yield Wav2Vec2-base (random weights, layer 6) and `tiny`, each on speech and short clips."""
    for case in CASES.values():
        yield from case()


def _measured(name: str, make: Callable[[], AudioTokenizer]) -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(_NUM_THREADS)
    try:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            tokenizer = make()
            yield _row(f"audio.{name}_5_20s", tokenizer, _SPEECH_S, folder)
            yield _row(f"audio.{name}_half_second", tokenizer, _CLIPS_S, folder)
    finally:
        torch.set_num_threads(threads)


def _base() -> AudioTokenizer:
    torch.manual_seed(0)
    encoder = AudioEncoder.of(Wav2Vec2Model(Wav2Vec2Config()), layer=6, normalize=True)
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(torch.randn(1, 500, encoder.dim)),
        sample_rate_hz=16_000,
        windowing=Windowing(window_frames=1500, hop_frames=1250),
    )


def _row(name: str, tokenizer: AudioTokenizer, lengths_s: tuple[float, ...], folder: str) -> Row:
    paths = []
    for index, seconds in enumerate(lengths_s):
        paths.append(Path(folder) / f"{name}-{index}.flac")
        rng = np.random.default_rng(index)
        sound = np.cumsum(rng.normal(0, 0.01, round(seconds * _FILE_RATE_HZ)))
        soundfile.write(paths[-1], sound / np.abs(sound).max() / 2, _FILE_RATE_HZ)
    ready = [torch.randn(1, round(s * tokenizer.sample_rate_hz)) for s in lengths_s]

    def forward() -> None:
        for samples in ready:
            tokenizer.encoder.model(samples)

    pairs = alternate(lambda: _tokenize(tokenizer, paths), forward)
    has_bar = max(lengths_s) > 1 and "wav2vec2" in name
    return Row(
        name=name,
        ours=sum(lengths_s) / pairs.ours,
        peer=sum(lengths_s) / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 0.90" if has_bar else None,
        unit="seconds of speech/s",
        note=f"{len(paths)} FLAC files of {_FILE_RATE_HZ} Hz; peer: bare forward on ready tensors",
    )


def _tokenize(tokenizer: AudioTokenizer, paths: list[Path]) -> None:
    def prepared(path: Path) -> list[Chunk]:
        return list(tokenizer.preparer.prepare(Audio(path)))

    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(prepared, paths[0])
        for following in [*paths[1:], None]:
            chunks = waiting.result()
            if following is not None:
                waiting = reader.submit(prepared, following)
            tokenizer.encode(chunks)


CASES = {
    "wav2vec2_base": lambda: _measured("wav2vec2_base", _base),
    "tiny": lambda: _measured("tiny", lambda: dvse.load("tiny").audio),
}
