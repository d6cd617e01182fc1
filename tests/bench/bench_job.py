"""The batch job: against the bare encoder, against `datasets.map`, and over many inputs.

The encoders are real architectures with random weights (ViT-S, Wav2Vec2-base), so nothing is
fetched; ours and the peer share them. The job is whole: listing, decode processes, device process,
shards made durable. Its start-up (importing, loading weights) is a row of its own and not part of
the others; processes stay open between repetitions.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from bench_image import _jpegs
from timing import Pairs, Row

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.encoder import EncoderConfig as AudioConfig
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.bundle import Section, write_bundle
from dvse.codebook import Codebook
from dvse.image.encoder import EncoderConfig as ImageConfig
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.shard import read_shard
from dvse.tokenizer import Tokenizer
from dvse.vocabulary import Vocabulary
from pipelines.engines.engine import Engine
from pipelines.engines.local import LocalEngine
from pipelines.job.job import Job, JobConfig
from pipelines.job.tokenize_step import TokenizeStep

_RATE_HZ = 16_000
_PAIRS = 7
_FEW, _MANY = 1_000, 50_000
_PADDED_BATCH = 4


def rows() -> Iterator[Row]:
    """Yield all rows; about ten minutes on two cores."""
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
    config = JobConfig(inputs=inputs, output=output, overwrite=True)
    return Job(config, TokenizeStep(bundle=bundle), engine).run().work_seconds


def _alternate(ours: Callable[[], float], peer: Callable[[], float]) -> Pairs:
    """Pairs of calls that measure their own seconds, after one of each to warm up."""
    ours(), peer()
    measured = [(ours(), peer()) for _ in range(_PAIRS)]
    return Pairs(ours_s=[a for a, _ in measured], peer_s=[b for _, b in measured])


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _pictures(folder: Path) -> Iterator[Row]:
    bundle = _real_bundle(folder / "bundle")
    _jpegs(folder / "photos", count=64, width=500, height=375)
    tokenizer = dvse.load(bundle)
    image = tokenizer.image
    rows = image.batch_rows((224, 224, 3))
    ready = torch.zeros(-(-64 // rows), rows, 224, 224, 3, dtype=torch.uint8).random_(0, 256)

    def forward() -> None:
        with tokenizer.profile.pinned():
            for batch in ready:
                image.encoder(batch)

    engine = _KeptOpen(LocalEngine(num_workers=2))
    try:
        pairs = _alternate(
            lambda: _run(engine, bundle, [str(folder / "photos")], folder / "out"),
            lambda: _timed(forward),
        )
    finally:
        engine.really_close()
    yield Row(
        name="job.vit_small_500x375",
        ours=64 / pairs.ours,
        peer=64 / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 0.90",
        unit="pictures/s",
        note=f"whole job, 2 decode workers; peer: bare ViT-S forward, batches of {rows}",
    )


def _speech(folder: Path) -> Iterator[Row]:
    bundle = _real_bundle(folder / "bundle")
    rng = np.random.default_rng(1)
    lengths = [5.0, 8.0, 11.0, 14.0, 17.0, 20.0]
    (folder / "speech").mkdir()
    for number, seconds in enumerate(lengths):
        wave = rng.standard_normal(int(seconds * _RATE_HZ)) * 0.1
        soundfile.write(folder / "speech" / f"{number}.flac", wave, _RATE_HZ)
    tokenizer = dvse.load(bundle)
    audio = tokenizer.audio
    waves = [
        torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        for path in sorted((folder / "speech").glob("*.flac"))
    ]
    total = sum(lengths)

    def forward() -> None:
        with tokenizer.profile.pinned():
            for wave in waves:
                audio.encoder(wave[None])

    engine = _KeptOpen(LocalEngine(num_workers=2))
    try:
        ours = lambda: _run(engine, bundle, [str(folder / "speech")], folder / "out")  # noqa: E731
        pairs = _alternate(ours, lambda: _timed(forward))
        yield Row(
            name="job.wav2vec2_speech",
            ours=total / pairs.ours,
            peer=total / pairs.peer,
            ratio=pairs.speedup,
            bar=">= 0.90",
            unit="s of speech/s",
            note="whole job, clips of 5-20 s; peer: bare Wav2Vec2-base forward at exact lengths",
        )
        mapped = _datasets_map(folder, tokenizer)
        pairs = _alternate(ours, lambda: _timed(mapped))
        changed = _share_changed(folder / "out", mapped(), tokenizer)
        yield Row(
            name="job.wav2vec2_vs_datasets_map",
            ours=total / pairs.ours,
            peer=total / pairs.peer,
            ratio=pairs.speedup,
            bar=">= 1.0",
            unit="s of speech/s",
            note=f"peer: datasets.map, batches of {_PADDED_BATCH} padded clips; padding changes "
            f"{changed:.1%} of the codes there",
        )
    finally:
        engine.really_close()


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
    _jpegs(folder / "large", count=16, width=4000, height=3000)
    engines = {n: _KeptOpen(LocalEngine(num_workers=n)) for n in (1, 2)}
    try:
        two, one = (
            lambda n=n: _run(engines[n], "tiny", [str(folder / "large")], folder / f"out{n}")
            for n in (2, 1)
        )
        pairs = _alternate(two, one)
    finally:
        for engine in engines.values():
            engine.really_close()
    yield Row(
        name="job.two_workers_12_megapixels",
        ours=16 / pairs.ours,
        peer=16 / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 1.6",
        unit="pictures/s",
        note="tiny on 12-megapixel JPEGs, 2 decode workers; peer: 1",
    )


def _startup(folder: Path) -> Iterator[Row]:
    source = _jpegs(folder / "one", count=1, width=32, height=32)[0]
    command = [sys.executable, "-m", "pipelines.cli", "tokenize", str(source), "--quiet"]

    def ours() -> float:
        return _timed(
            lambda: subprocess.run(
                [*command, "--output", str(folder / "one-out"), "--overwrite"], check=True
            )
        )

    imports = "import torch, timm, transformers.models.wav2vec2.modeling_wav2vec2"

    def peer() -> float:
        return _timed(lambda: subprocess.run([sys.executable, "-c", imports], check=True))

    pairs = _alternate(ours, peer)
    yield Row(
        name="job.startup_to_first_shard",
        ours=pairs.ours,
        peer=pairs.peer,
        unit="s",
        note="dvse tokenize on one picture, from the shell to the shard on disk; peer: importing "
        "torch, timm and transformers alone",
    )


def _many_inputs(folder: Path) -> Iterator[Row]:
    """1,000 against 50,000 small text files: memory, time an input, and resuming."""
    for count in (_FEW, _MANY):
        for number in range(count):
            if number % 1000 == 0:
                inner = folder / f"texts{count}" / f"{number // 1000:03d}"
                inner.mkdir(parents=True)
            text = f"This is text number {number} of a good many, and it is rather short."
            (inner / f"{number:06d}.txt").write_text(text, encoding="utf-8")
    measured = {}
    for count in (_FEW, _MANY):
        runs = [_tokenize_texts(folder, count) for _ in range(3)]
        measured[count] = [statistics.median(values) for values in zip(*runs, strict=True)]
    (few_bytes, few_s), (many_bytes, many_s) = measured[_FEW], measured[_MANY]
    yield Row(
        name="job.memory_50000_vs_1000",
        ours=many_bytes / 1e6,
        peer=few_bytes / 1e6,
        ratio=many_bytes / few_bytes,
        bar="<= 1.10",
        unit="MB",
        note="sum of the peak resident memory of all processes, 50,000 text files; peer: 1,000",
    )
    yield Row(
        name="job.time_per_input_50000_vs_1000",
        ours=many_s / _MANY * 1e3,
        peer=few_s / _FEW * 1e3,
        ratio=(many_s / _MANY) / (few_s / _FEW),
        bar="<= 1.10",
        unit="ms",
        note="working time an input, 50,000 text files; peer: 1,000",
    )
    command = _texts_command(folder, _MANY)
    resume = statistics.median(
        _timed(lambda: subprocess.run(command, check=True)) for _ in range(_PAIRS)
    )
    yield Row(
        name="job.resume_finished_50000",
        ours=resume,
        bar="<= 5",
        ratio=resume,
        unit="s",
        note="the same command again, from the shell; ratio is seconds",
    )


def _texts_command(folder: Path, count: int, *more: str) -> list[str]:
    source, output = folder / f"texts{count}", folder / f"texts-out{count}"
    command = [sys.executable, "-m", "pipelines.cli", "tokenize", str(source), "--quiet"]
    return [*command, "--output", str(output), *more]


def _tokenize_texts(folder: Path, count: int) -> tuple[int, float]:
    """Run the command; return the peak memory of all its processes together, and its seconds."""
    process = subprocess.Popen(_texts_command(folder, count, "--overwrite"))
    peaks: dict[int, int] = {}
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks))
    watcher.start()
    assert process.wait() == 0
    watcher.join()
    summary = json.loads((folder / f"texts-out{count}" / "summary.json").read_text())
    assert summary["num_rows"] == count
    return sum(peaks.values()), summary["work_seconds"]


def _watch(pid: int, peaks: dict[int, int]) -> None:
    """Note the high-water mark of each process of a tree until the first one ends."""
    while True:
        tree = _tree(pid)
        for process in tree:
            try:
                status = Path(f"/proc/{process}/status").read_text()
            except OSError:
                continue  # it has ended meanwhile
            line = next((x for x in status.splitlines() if x.startswith("VmHWM")), None)
            if line is not None:
                peaks[process] = int(line.split()[1]) * 1024
        if not tree:
            return
        time.sleep(0.05)


def _tree(pid: int) -> list[int]:
    """A process and those below it; none once it has ended."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(p for child in children for p in _tree(int(child)))]


def _real_bundle(folder: Path) -> str:
    """A bundle of ViT-S and Wav2Vec2-base with random weights and the text model of `tiny`."""
    torch.manual_seed(0)
    tiny = dvse.load("tiny")
    image_encoder = ImageEncoder(ImageConfig(name="vit_small_patch16_224"))
    image = ImageTokenizer(
        encoder=image_encoder,
        quantizer=CodebookQuantizer(Codebook(torch.randn(1, 1024, image_encoder.dim))),
        geometry=SquareGeometry(size=224, patch_size=16),
    )
    config = AudioConfig(architecture="wav2vec2", layer=12, normalize=True)
    audio_encoder = AudioEncoder(config, config.build())
    audio = AudioTokenizer(
        encoder=audio_encoder,
        codebook=Codebook(torch.randn(1, 500, audio_encoder.dim)),
        sample_rate_hz=_RATE_HZ,
        windowing=Windowing(window_frames=1000, hop_frames=900),
    )
    parts = {"text": tiny.text, "image": image, "audio": audio}
    for modality, part in parts.items():
        (folder / modality).mkdir(parents=True)
        part.save_files(folder / modality)
    vocabulary = Vocabulary.create(text_size=tiny.text.size, image=(1024, 1), audio=(500, 1))
    sections = {modality: Section(spec=part.spec()) for modality, part in parts.items()}
    write_bundle(folder, name="real", vocabulary=vocabulary, sections=sections)
    return str(folder)


def _in_folder(case: Callable[[Path], Iterator[Row]]) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as folder:
            yield from case(Path(folder))

    return rows


CASES = {
    "many": _in_folder(_many_inputs),
    "startup": _in_folder(_startup),
    "workers": _in_folder(_two_workers),
    "pictures": _in_folder(_pictures),
    "speech": _in_folder(_speech),
}
