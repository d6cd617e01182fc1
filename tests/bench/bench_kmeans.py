"""K-means: ours against scikit-learn with fairseq's settings and against faiss; growth from disk.

    python tests/bench --only kmeans            or kmeans.faiss, kmeans.scikit_learn, …
    DVSE_BENCH_SKLEARN=full  also runs scikit-learn at full size (more than ten minutes)

Features are a mixture of 3,000 states of unequal weight in 48 directions plus noise in all 768, as
hidden layers of speech encoders are. Speed is peer time / our time; inertia is over all rows.
"""

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from timing import Row, alternate

from pipelines.codebooks.kmeans import (
    ArrayFeatures,
    FeatureStore,
    FeatureStoreWriter,
    KMeansSettings,
    Reservoir,
)
from pipelines.codebooks.kmeans.lloyd import TorchLloyd
from pipelines.codebooks.kmeans.partial_sums import PartialSums

ROWS, DIM, CODES = 100_000, 768, 500
PASSES = 6
SEEDS = (0, 1, 2)
FAIRSEQ = {
    "init": "k-means++",
    "batch_size": 10_000,
    "max_iter": 100,
    "n_init": 20,
    "max_no_improvement": 100,
    "reassignment_ratio": 0.0,
    "tol": 0.0,
}


class _Timed(NamedTuple):
    seconds: float
    centroids: np.ndarray


def rows() -> Iterator[Row]:
    """Yield the rows of the table."""
    for case in CASES.values():
        yield from case()


class _Ours(NamedTuple):
    seconds: float
    inertia: float


def _ours(features: np.ndarray, **more: float) -> _Ours:
    runs = [_timed(lambda seed=seed: _lloyd(features, seed, **more)) for seed in SEEDS]
    return _Ours(
        statistics.median(run.seconds for run in runs),
        statistics.mean(_inertia(features, run.centroids) for run in runs),
    )


def _against_faiss() -> Iterator[Row]:
    import faiss

    features = _mixture(ROWS, seed=0)
    seconds, inertia = _ours(features, num_passes=4)
    longer = _ours(features, num_passes=PASSES, tolerance=0.0)

    def fit(seed: int) -> np.ndarray:
        kmeans = faiss.Kmeans(DIM, CODES, niter=20, seed=seed + 1)
        kmeans.train(features)
        return kmeans.centroids

    theirs = [_timed(lambda seed=seed: fit(seed)) for seed in SEEDS]
    peer_s = statistics.median(run.seconds for run in theirs)
    peer_inertia = statistics.mean(_inertia(features, run.centroids) for run in theirs)
    size = f"{ROWS} x {DIM}, {CODES} codes, {len(SEEDS)} seeds"
    note = f"ours: four passes; faiss Kmeans, 20 iterations; {size}"
    yield Row(
        name="kmeans.speed_against_faiss",
        ours=seconds,
        peer=peer_s,
        ratio=peer_s / seconds,
        bar=">= 1.5",
        note=note,
    )
    yield Row(
        name="kmeans.inertia_against_faiss",
        ours=inertia,
        peer=peer_inertia,
        ratio=inertia / peer_inertia,
        bar="<= 1.002",
        unit="inertia",
        note=note,
    )
    note = note.replace("four passes", "six passes, none left out")
    yield Row(
        name="kmeans.speed_against_faiss_six_passes",
        ours=longer.seconds,
        peer=peer_s,
        ratio=peer_s / longer.seconds,
        note=note,
    )
    yield Row(
        name="kmeans.inertia_against_faiss_six_passes",
        ours=longer.inertia,
        peer=peer_inertia,
        ratio=longer.inertia / peer_inertia,
        unit="inertia",
        note=note,
    )


def _against_scikit_learn() -> Iterator[Row]:
    from sklearn.cluster import MiniBatchKMeans

    features = _mixture(ROWS, seed=0)
    seconds, inertia = _ours(features)
    is_full = os.environ.get("DVSE_BENCH_SKLEARN") == "full"
    settings = {**FAIRSEQ, "n_init": 20 if is_full else 1, "max_iter": 100 if is_full else 10}
    peer = _timed(
        lambda: MiniBatchKMeans(CODES, random_state=0, **settings).fit(features).cluster_centers_
    )
    note = "fairseq's settings"
    if not is_full:
        note += ", but one start of 20 and 10 epochs of 100: a lower bound of the peer's time"
    yield Row(
        name="kmeans.speed_against_scikit_learn",
        ours=seconds,
        peer=peer.seconds,
        ratio=peer.seconds / seconds,
        bar=">= 50" if is_full else None,
        note=note,
    )
    peer_inertia = _inertia(features, peer.centroids)
    yield Row(
        name="kmeans.inertia_against_scikit_learn",
        ours=inertia,
        peer=peer_inertia,
        ratio=inertia / peer_inertia,
        bar="<= 1.015",
        unit="inertia",
        note=note,
    )


def _base_features_to_centroids(seconds: int = 600) -> Iterator[Row]:
    """`dvse train audio` on files of ten seconds with Wav2Vec2-base (random weights, layer 6)."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from dvse.audio.encoder import AudioEncoder
    from pipelines.codebooks.settings import Clustering
    from pipelines.training.audio.settings import PublishedEncoder, UnitRecipe
    from pipelines.training.audio.units import train_units

    rate_hz = 16_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "base")
        recordings = _recordings(seconds, rate_hz)
        (folder / "wav").mkdir()
        for number, samples in enumerate(recordings):
            soundfile.write(folder / "wav" / f"{number}.wav", samples, rate_hz)
        encoder = AudioEncoder.from_pretrained(folder / "base", layer=6)

        recipe = UnitRecipe(
            data=(folder / "wav",),
            encoder=PublishedEncoder(name=str(folder / "base")),
            clustering=Clustering(kmeans=KMeansSettings(num_codes=CODES, num_passes=PASSES)),
        )

        def ours() -> None:
            train_units(recipe, folder / "units")
            shutil.rmtree(folder / "units")

        def peer() -> None:
            with torch.inference_mode():
                for samples in recordings:
                    encoder.model(torch.from_numpy(samples)[None])

        pairs = alternate(ours, peer, pairs=3)
    yield pairs.row(
        "kmeans.features_to_centroids",
        bar=">= 0.9",
        note=f"Wav2Vec2-base, layer 6, {seconds} s of audio in WAV files, {CODES} codes, to the "
        "part on disk; peer: its forward to that layer, on ready tensors",
    )


def _tiny_features_to_centroids(seconds: int = 600) -> Iterator[Row]:
    """Recordings of ten seconds through the shipped encoder: with sampling and k-means, without."""
    import dvse
    from pipelines.training.audio.units import file_features

    tokenizer = dvse.load("tiny")
    audio = tokenizer.audio
    recordings = _recordings(seconds, audio.sample_rate_hz)
    items = [dvse.Audio(samples, audio.sample_rate_hz) for samples in recordings]
    windows = [chunk for item in items for chunk in tokenizer.preparer.chunks([item])]
    passes: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for window in windows:
        passes.setdefault(window.shape, []).append(torch.from_numpy(window.data))
    batches = [
        batch
        for shape, samples in passes.items()
        for batch in torch.stack(samples).split(audio.batch_rows(shape))
    ]
    whole = [torch.from_numpy(samples)[None] for samples in recordings]
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{number:03}.wav" for number in range(len(recordings))]
        for file, samples in zip(files, recordings, strict=True):
            soundfile.write(file, samples, audio.sample_rate_hz, subtype="FLOAT")

        def ours() -> None:
            sample = Reservoir(capacity=100_000, seed=0)
            for block in file_features(audio, files):
                sample.add(block)
            settings = KMeansSettings(num_codes=audio.num_codes, num_passes=PASSES)
            TorchLloyd().fit(ArrayFeatures(sample.vectors), settings)

        for what, ready in (("windows", batches), ("recordings", whole)):

            @torch.inference_mode()
            def peer(ready: list[torch.Tensor] = ready) -> None:
                for samples in ready:
                    audio.encoder(samples)

            yield alternate(ours, peer, pairs=3).row(
                f"kmeans.tiny_features_to_centroids_{what}",
                bar=">= 0.75" if what == "windows" else None,
                note=f"tiny's encoder over {seconds} s of audio in WAV files, {audio.num_codes} "
                f"codes; peer: its forward on ready tensors of the {what}",
            )


def _from_disk(num_codes: int = 2000, factor: int = 10) -> Iterator[Row]:
    settings = KMeansSettings(num_codes=num_codes, num_passes=1, tolerance=0.0)
    with tempfile.TemporaryDirectory() as folder:
        times, memory = [], 0.0
        for count in (ROWS, factor * ROWS):
            path = Path(folder) / str(count)
            with FeatureStoreWriter(path, dim=DIM) as writer:
                for part in range(count // 50_000):
                    writer.add(_mixture(50_000, seed=part))
            store = FeatureStore.open(path)
            with _AnonymousMemory() as watched:
                start = time.perf_counter()
                TorchLloyd().fit(store, settings)
                times.append(time.perf_counter() - start)
            memory = watched.peak_gb
    note = f"{num_codes} codes from disk, peer: {ROWS} rows, ours: {factor * ROWS}, one full pass"
    yield Row(
        name="kmeans.growth_from_disk",
        ours=times[1],
        peer=times[0],
        ratio=times[1] / times[0] / factor,
        bar="<= 1.2",
        note=note,
    )
    yield Row(
        name="kmeans.anonymous_memory_from_disk", ours=memory, bar="< 2", unit="GB", note=note
    )


def _lloyd(features: np.ndarray, seed: int, **more: float) -> np.ndarray:
    settings = KMeansSettings(**{"num_codes": CODES, "num_passes": PASSES, "seed": seed, **more})
    return TorchLloyd().fit(ArrayFeatures(features), settings).centroids.numpy()


def _timed(call: Callable[[], np.ndarray]) -> _Timed:
    start = time.perf_counter()
    centroids = call()
    return _Timed(time.perf_counter() - start, centroids)


def _inertia(features: np.ndarray, centroids: np.ndarray) -> float:
    sums = PartialSums(torch.from_numpy(np.ascontiguousarray(centroids)))
    for block in ArrayFeatures(features).blocks(sums.block_rows):
        sums.add(block)
    return sums.inertia()


def _recordings(seconds: int, rate_hz: int) -> list[np.ndarray]:
    """Return noise in pieces of ten seconds."""
    rng = np.random.default_rng(0)
    return list(rng.standard_normal((seconds // 10, 10 * rate_hz), dtype=np.float32) / 10)


def _mixture(num_rows: int, *, seed: int, num_states: int = 3000, rank: int = 48) -> np.ndarray:
    shared, own = np.random.default_rng(0), np.random.default_rng(seed + 1)
    directions = shared.standard_normal((rank, DIM), dtype=np.float32)
    directions *= np.linspace(1, 0.1, rank, dtype=np.float32)[:, None]
    states = shared.standard_normal((num_states, rank), dtype=np.float32)
    weights = shared.random(num_states) ** 3
    which = own.choice(num_states, num_rows, p=weights / weights.sum())
    places = states[which] + 0.5 * own.standard_normal((num_rows, rank), dtype=np.float32)
    noise = own.standard_normal((num_rows, DIM), dtype=np.float32)
    noise *= 0.3
    noise += places @ directions
    return noise


class _AnonymousMemory(threading.Thread):
    """Watches the anonymous memory of this process (Linux) while something runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gb, self._is_over = 0.0, threading.Event()

    def run(self) -> None:
        status = Path("/proc/self/status")
        while status.is_file() and not self._is_over.wait(0.05):
            line = next(x for x in status.read_text().splitlines() if x.startswith("RssAnon:"))
            self.peak_gb = max(self.peak_gb, int(line.split()[1]) * 1024 / 1e9)

    def __enter__(self) -> "_AnonymousMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "faiss": _against_faiss,
    "scikit_learn": _against_scikit_learn,
    "features_to_centroids": _base_features_to_centroids,
    "tiny_features_to_centroids": _tiny_features_to_centroids,
    "from_disk": _from_disk,
}
