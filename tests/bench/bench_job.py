"""The batch job: against the bare encoder, against `datasets.map`, one worker against two.

The encoders are real architectures with random weights (ViT-S, Wav2Vec2-base), so nothing is
fetched; ours and the peer share them. The job is whole: listing, decode processes, device process,
shards made durable. Its start-up (importing, loading weights) is a row of its own and not part of
the others; processes stay open between repetitions. Pictures are a whole number of batches (of five
on a processor): that a job fills its last batch up is a cost of few pictures, up to four in all.

Two more rows say where a job's time goes: the share of it in which its encoder computes, and how
fast it then is beside the bare forward, for decoders take processor time from it.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from bench_image import _jpegs
from PIL import Image
from real_bundle import RATE_HZ, real_bundle, speech_like
from timing import Pairs, Row

import dvse
from dvse.storage.shard import read_shard
from dvse.tokenizer import Tokenizer
from pipelines.engines.engine import Engine
from pipelines.engines.local import LocalEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.steps.tokenize import TokenizeStep, TokenizeWork

_PAIRS, _WATCHED = 7, 3
_PADDED_BATCH = 4
_NUM_PHOTOS = 130
_LENGTHS_S = (5.0, 8.0, 12.0, 20.0)


def rows() -> Iterator[Row]:
    """Yield all rows; about five minutes on two cores."""
    for case in CASES.values():
        yield from case()


class _KeptOpen(Engine):
    """An engine whose processes outlive a job, so that start-up is measured apart."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self._description = None

    def open(self, step):
        if self._description is None:
            self._description = self._inner.open(step)
        return self._description

    def run(self, records):
        return self._inner.run(records)

    def close(self):
        pass

    def really_close(self):
        self._inner.close()


def _run(engine: Engine, bundle: str, inputs: list[str], output: Path) -> float:
    """Run a whole job afresh; return the seconds from the first input to the last shard."""
    return _run_step(engine, TokenizeStep(bundle=bundle), inputs, output)


def _run_step(engine: Engine, step: TokenizeStep, inputs: list[str], output: Path) -> float:
    config = JobConfig(inputs=inputs, output=output, overwrite=True)
    return Job(config, step, engine).run().work_seconds


def _alternate(
    ours: Callable[[], float], peer: Callable[[], float], *, count: int = _PAIRS
) -> Pairs:
    """Pairs of calls that measure their own seconds, after one of each to warm up."""
    ours_s, peer_s = _in_turn(ours, peer, count=count)
    return Pairs(ours_s=ours_s, peer_s=peer_s)


def _in_turn(*calls: Callable[[], float], count: int = _PAIRS) -> list[list[float]]:
    """The seconds of each of several calls, run in turn, after one of each to warm up."""
    for call in calls:
        call()
    rounds = [[call() for call in calls] for _ in range(count)]
    return [list(seconds) for seconds in zip(*rounds, strict=True)]


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _pictures(folder: Path, size: str = "small", count: int = _NUM_PHOTOS) -> Iterator[Row]:
    bundle = real_bundle(folder / "bundle", size)
    _jpegs(folder / "photos", count=count, width=500, height=375)
    tokenizer = dvse.load(bundle)
    image = tokenizer.image
    ready = torch.zeros(count, 224, 224, 3, dtype=torch.uint8).random_(0, 256)

    def forward(rows: int) -> None:
        with tokenizer.profile.pinned():
            for batch in ready.split(rows):
                image.encoder(batch)

    ours = image.batch_rows((224, 224, 3))
    photos = [str(folder / "photos")]
    choices = (1, ours, 2 * ours, 4 * ours)  # of the bare forward, which may have its best
    times = _in_turn(*(functools.partial(_timed, lambda n=n: forward(n)) for n in choices), count=1)
    rows = min(zip(times, choices, strict=True))[1]
    engine = _KeptOpen(LocalEngine(num_workers=2))
    try:
        pairs = _alternate(
            lambda: _run(engine, bundle, photos, folder / "out"),
            lambda: _timed(lambda: forward(rows)),
        )
    finally:
        engine.really_close()
    yield from _where_time_goes(
        f"job.vit_{size}", bundle, photos, folder, lambda: _timed(lambda: forward(ours))
    )
    yield Row(
        name=f"job.vit_{size}_500x375",
        ours=count / pairs.ours,
        peer=count / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 0.90",
        unit="pictures/s",
        note=f"whole job, 2 decode workers; peer: bare forward, batches of {rows}, the best",
    )


def _where_time_goes(
    name: str, bundle: str, inputs: list[str], folder: Path, bare: Callable[[], float]
) -> Iterator[Row]:
    """The share of a job's time in which its encoder computes, and how fast it is then."""
    log = folder / "encoded.txt"
    engine = _KeptOpen(LocalEngine(num_workers=2))
    busy, jobs = [], []
    try:
        for _ in range(_WATCHED + 1):
            log.write_text("")
            step = WatchedStep(bundle=bundle, log=str(log))
            jobs.append(_run_step(engine, step, inputs, folder / "watched"))
            busy.append(sum(map(float, log.read_text().split())))
        alone = [bare() for _ in range(_WATCHED + 1)]
    finally:
        engine.really_close()
    whole, computing = (
        Pairs(ours_s=jobs[1:], peer_s=busy[1:]),
        Pairs(ours_s=busy[1:], peer_s=alone[1:]),
    )
    yield Row(
        name=f"{name}_busy",
        ours=whole.speedup,
        unit="share of the job's time",
        note="in which the device process encodes, from the first input to the last shard",
    )
    yield Row(
        name=f"{name}_pace",
        ours=computing.speedup,
        unit="times the bare forward",
        note="of the encoder while it encodes, decoders beside it; the same rows a batch",
    )


@dataclass(frozen=True, kw_only=True)
class WatchedStep(TokenizeStep):
    """Tokenises and writes down the seconds of each window's encoding."""

    log: str

    def open(self, device: str) -> "WatchedWork":
        """Load the tokenizer."""
        return WatchedWork(super().open(device).tokenizer, self.log)


class WatchedWork(TokenizeWork):
    """A tokenizer that is timed."""

    def __init__(self, tokenizer: Tokenizer, log: str) -> None:
        super().__init__(tokenizer)
        self._log = log

    def encode(self, chunks):
        """Return the codes of each chunk."""
        start = time.perf_counter()
        found = super().encode(chunks)
        with Path(self._log).open("a") as file:
            file.write(f"{time.perf_counter() - start}\n")
        return found


def _speech(folder: Path) -> Iterator[Row]:
    bundle = real_bundle(folder / "bundle")
    (folder / "speech").mkdir()
    for number, seconds in enumerate(_LENGTHS_S):
        wave = speech_like(seconds, seed=number)
        soundfile.write(folder / "speech" / f"{number}.flac", wave, RATE_HZ)
    tokenizer = dvse.load(bundle)
    audio = tokenizer.audio
    waves = [
        torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        for path in sorted((folder / "speech").glob("*.flac"))
    ]
    mapped = _datasets_map(folder, tokenizer)

    def forward() -> None:
        with tokenizer.profile.pinned():
            for wave in waves:
                audio.encoder(wave[None])

    engine = _KeptOpen(LocalEngine(num_workers=2))
    try:
        ours, bare, padded = _in_turn(
            lambda: _run(engine, bundle, [str(folder / "speech")], folder / "out"),
            lambda: _timed(forward),
            lambda: _timed(mapped),
        )
    finally:
        engine.really_close()
    total = sum(_LENGTHS_S)
    changed = _share_changed(folder / "out", mapped(), tokenizer)
    for name, peer, bar, note in (
        ("speech", bare, ">= 0.90", "bare Wav2Vec2-base forward at exact lengths"),
        (
            "vs_datasets_map",
            padded,
            ">= 1.0",
            f"datasets.map, batches of {_PADDED_BATCH} padded clips; padding changes "
            f"{changed:.1%} of the codes there",
        ),
    ):
        pairs = Pairs(ours_s=ours, peer_s=peer)
        yield Row(
            name=f"job.wav2vec2_{name}",
            ours=total / pairs.ours,
            peer=total / pairs.peer,
            ratio=pairs.speedup,
            bar=bar,
            unit="s of speech/s",
            note=f"whole job, {len(waves)} clips of 5-20 s; peer: {note}",
        )


def _datasets_map(folder: Path, tokenizer: Tokenizer) -> Callable[[], list[np.ndarray]]:
    """What people write today: a batch of clips, padded to the longest, one forward pass."""
    import datasets

    datasets.disable_progress_bars()
    datasets.disable_caching()
    audio = tokenizer.audio
    paths = [str(path) for path in sorted((folder / "speech").glob("*.flac"))]
    loaded = datasets.Dataset.from_dict({"path": paths})

    def encode(batch):
        waves = [soundfile.read(path, dtype="float32")[0] for path in batch["path"]]
        padded = torch.zeros(len(waves), max(map(len, waves)))
        for row, wave in enumerate(waves):
            padded[row, : len(wave)] = torch.from_numpy(wave)
        with tokenizer.profile.pinned():
            features = audio.encoder(padded)
            codes = audio.codebook.encode(features.flatten(0, 1)).reshape(len(waves), -1)
        frames = [audio.preparer.grid.num_frames(len(wave)) for wave in waves]
        return {"codes": [row[:n].tolist() for row, n in zip(codes, frames, strict=True)]}

    def run() -> list[np.ndarray]:
        mapped = loaded.map(encode, batched=True, batch_size=_PADDED_BATCH)
        return [np.array(codes) for codes in mapped["codes"]]

    return run


def _share_changed(output: Path, padded: list[np.ndarray], tokenizer: Tokenizer) -> float:
    """Share of codes that differ between our shard and the padded way."""
    (path,) = output.glob("shard-*.parquet")
    different = total = 0
    for row, codes in zip(read_shard(path).to_pylist(), padded, strict=True):
        mine, _ = tokenizer.vocabulary.codes_of("audio", row["ids"][1:-1])
        count = min(len(mine), len(codes))
        different += int((mine[:count] != codes[:count]).sum())
        total += count
    return different / total


def _two_workers(folder: Path) -> Iterator[Row]:
    # PNG has to be unpacked whole; JPEG comes scaled down by 8 out of its decoder, so that `tiny`
    # takes more than half as long as decoding does, and two cores have little to gain.
    _jpegs(folder / "jpeg", count=6, width=4000, height=3000)
    (folder / "png").mkdir()
    for path in sorted((folder / "jpeg").iterdir()):
        with Image.open(path) as picture:
            picture.save(folder / "png" / f"{path.stem}.png", compress_level=1)
    for kind, times, bar in (("png", 4, ">= 1.7"), ("jpeg", 16, None)):
        for path in sorted((folder / kind).iterdir()):
            for number in range(1, times):
                path.with_stem(f"{path.stem}-{number}").hardlink_to(path)
        count = 6 * times
        engines = {n: _KeptOpen(LocalEngine(num_workers=n)) for n in (1, 2)}
        inputs = [str(folder / kind)]
        two, one = (
            functools.partial(_run, engines[n], "tiny", inputs, folder / f"out{n}") for n in (2, 1)
        )
        try:
            pairs = _alternate(two, one)
        finally:
            for engine in engines.values():
                engine.really_close()
        yield Row(
            name=f"job.two_workers_12_megapixel_{kind}",
            ours=count / pairs.ours,
            peer=count / pairs.peer,
            ratio=pairs.speedup,
            bar=bar,
            unit="pictures/s",
            note="tiny on 12-megapixel pictures, 2 decode workers; peer: 1",
        )


def _in_folder(case: Callable[[Path], Iterator[Row]]) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as folder:
            yield from case(Path(folder))

    return rows


CASES = {
    "workers": _in_folder(_two_workers),
    "pictures": _in_folder(_pictures),
    "pictures_base": _in_folder(functools.partial(_pictures, size="base", count=50)),
    "speech": _in_folder(_speech),
}
