"""Speech end to end against the bare encoder, in one warm process.

Ours reads FLAC files, resamples, encodes and searches the nearest codes: Wav2Vec2-base one file
ahead in a thread, `tiny` by the front door, `encode_many`, which gives ids. The peer is the same
encoder's forward pass (the same layers) over the same number of seconds of ready tensors, one
recording at a time, with the same number of threads. `ours` and `peer` are seconds of speech a
second; `ratio` is peer time over our time: 1.0 would mean that everything around the encoder costs
nothing. Wav2Vec2-base has windows of 30 s: nothing here is long enough to be encoded twice. `tiny`
encodes 1.28 s every 0.8 s, so its long recordings have a second peer: its own windows, ready.
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


def _tiny() -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(_NUM_THREADS)
    try:
        with tempfile.TemporaryDirectory() as name, torch.inference_mode():
            folder = Path(name)
            tiny = dvse.load("tiny", threads=_NUM_THREADS)
            rate_hz = tiny.audio.sample_rate_hz
            for case, lengths_s in (("5_20s", _SPEECH_S), ("half_second", _CLIPS_S)):
                paths = _flac_files(folder, case, lengths_s)
                ready = [torch.randn(1, round(s * rate_hz)) for s in lengths_s]
                yield _front_door(f"audio.tiny_{case}", tiny, paths, ready, "recordings", lengths_s)
            paths = _flac_files(folder, "windows", _SPEECH_S)
            chunks = [c for p in paths for c in tiny.audio.preparer.prepare(Audio(p))]
            rows = tiny.batch_rows(chunks[0])
            ready = list(torch.from_numpy(np.stack([c.data for c in chunks])).split(rows))
            yield _front_door("audio.tiny_windows", tiny, paths, ready, "its windows", _SPEECH_S)
    finally:
        torch.set_num_threads(threads)


def _front_door(
    name: str,
    tiny: dvse.Tokenizer,
    paths: list[Path],
    ready: list[torch.Tensor],
    what: str,
    lengths_s: tuple[float, ...],
) -> Row:
    def forward() -> None:
        for samples in ready:
            tiny.audio.encoder.model(samples)

    pairs = alternate(lambda: list(tiny.encode_many(map(Audio, paths))), forward, pairs=15)
    return Row(
        name=name,
        ours=sum(lengths_s) / pairs.ours,
        peer=sum(lengths_s) / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 0.75",
        unit="seconds of speech/s",
        note=f"{len(paths)} FLAC files of {_FILE_RATE_HZ} Hz, encode_many; peer: bare forward on "
        f"ready tensors of {what}",
    )


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
    paths = _flac_files(Path(folder), name, lengths_s)
    ready = [torch.randn(1, round(s * tokenizer.sample_rate_hz)) for s in lengths_s]

    def forward() -> None:
        for samples in ready:
            tokenizer.encoder.model(samples)

    pairs = alternate(lambda: _tokenize(tokenizer, paths), forward)
    return Row(
        name=name,
        ours=sum(lengths_s) / pairs.ours,
        peer=sum(lengths_s) / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 0.90" if max(lengths_s) > 1 else None,
        unit="seconds of speech/s",
        note=f"{len(paths)} FLAC files of {_FILE_RATE_HZ} Hz; peer: bare forward on ready tensors",
    )


def _flac_files(folder: Path, name: str, lengths_s: tuple[float, ...]) -> list[Path]:
    paths = []
    for index, seconds in enumerate(lengths_s):
        paths.append(folder / f"{name}-{index}.flac")
        rng = np.random.default_rng(index)
        sound = np.cumsum(rng.normal(0, 0.01, round(seconds * _FILE_RATE_HZ)))
        soundfile.write(paths[-1], sound / np.abs(sound).max() / 2, _FILE_RATE_HZ)
    return paths


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
    "tiny": _tiny,
}
