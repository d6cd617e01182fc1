"""Trains the audio part of a bundle: an encoder or a published one, then its units.

Two ways lead to a part. `train_units` takes a published encoder and any folder of recordings.
`train_digit_units` trains the small encoder of the shipped `tiny` as well, from the spoken digits
and from speech made by espeak-ng, and measures the result on recordings it has never heard.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dvse.audio.encoder import AudioEncoder
from dvse.audio.hub_weights import HubWeights, weights_sha256
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.errors import ConfigError, InputError, TrainingError
from dvse.items import Audio
from dvse.part import Part
from dvse.weights import round_to_half
from pipelines.joined_speech import digit_sequence
from pipelines.kmeans import KMeansSettings
from pipelines.kmeans.processes import Processes
from pipelines.labelled_speech import Clip, digit_paths, load_digits, synthesize_words
from pipelines.near_duplicates import separate
from pipelines.unit_clustering import Clustering, cluster, remove_progress
from pipelines.unit_codebook import fit_codebook, sample_frames
from pipelines.unit_encoder_training import UnitEncoderTraining, train_unit_encoder
from pipelines.unit_evaluation import evaluate_units
from pipelines.unit_metrics import usage

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".au", ".caf")
CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """Settings of the units.

    Attributes:
        layer: hidden layer to cluster, see `dvse.audio.encoder.EncoderConfig`.
        num_codes: size of the codebook.
        max_frames: bound of the sample that k-means holds in memory.
        window_s, hop_s: windows over long recordings, see `dvse.audio.windows`.
        merge_repeats: make one unit of a run of equal ones.
        seed: of the sample and of k-means.
    """

    layer: int
    num_codes: int
    max_frames: int = 100_000
    window_s: float = 30.0
    hop_s: float = 25.0
    merge_repeats: bool = False
    seed: int = 0


def train_units(
    paths: Sequence[Path],
    output: Path,
    *,
    encoder: str | Path,
    revision: str | None = None,
    sample_rate_hz: int = 16_000,
    settings: UnitSettings,
    clustering: Clustering | None = None,
) -> Part:
    """Cluster a layer of a published encoder over recordings and write the part into `output`.

    Under `torch.distributed` each process reads its share of the files, and the first one writes.

    Args:
        paths: files, or folders that are searched for audio files.
        encoder: a directory of transformers, or a Hub name (then `revision` pins it).
        clustering: by default one level of Lloyd's algorithm over a sample in memory.

    Raises:
        BundleNotFoundError: no such encoder.
        TrainingError: no recordings, none that can be read, fewer different frames than codes, or
            a disk that is full: see `pipelines.unit_clustering.cluster`.
    """
    clustering = clustering or Clustering(
        kmeans=KMeansSettings(num_codes=settings.num_codes, seed=settings.seed),
        max_frames=settings.max_frames,
    )
    files = audio_files(paths)
    loaded = AudioEncoder.from_pretrained(encoder, layer=settings.layer, revision=revision)
    weights = weights_sha256(loaded.model)
    hub_weights = None
    if not Path(encoder).is_dir():
        hub_weights = HubWeights(repo=str(encoder), revision=revision, sha256=weights)
    draft = _draft(loaded, sample_rate_hz, settings, hub_weights)
    processes = Processes()
    if len(files) < processes.count:
        raise TrainingError(
            f"expected a recording for each of {processes.count} processes, received {len(files)}"
        )
    data_sha256 = _files_sha256(files)
    made_here = not output.exists()
    try:
        units = cluster(
            lambda: _file_features(draft, files[processes.rank :: processes.count]),
            output,
            clustering,
            dim=loaded.dim,
            about={
                "encoder": weights,
                "layer": settings.layer,
                "data": data_sha256,
                "sample_rate_hz": sample_rate_hz,
                "windows": [settings.window_s, settings.hop_s],
            },
        )
    except TrainingError:
        # Kept features and checkpoints stay for the next try; folders without any do not.
        if made_here:
            _remove_empty_folders(output)
        raise
    tokenizer = _with_codebook(draft, units.codebook)
    metrics = {**units.figures, "files": len(files)}
    provenance = {
        "command": f"dvse train audio --encoder {Path(encoder).name} --layer {settings.layer} "
        f"--num-codes {settings.num_codes}",
        "clustering": {
            **clustering.kmeans.to_dict(),
            "mode": clustering.mode,
            "frames": "all" if clustering.keep_features else clustering.max_frames,
        },
        "data": {"files": len(files), "sha256": data_sha256},
    }
    if processes.rank:
        return Part(modality="audio", folder=output, spec=tokenizer.spec(), metrics=metrics)
    part = _write(tokenizer, output, metrics=metrics, provenance=provenance)
    remove_progress(output)
    return part


def train_digit_units(
    data: Path,
    output: Path,
    *,
    training: UnitEncoderTraining,
    hours: float,
    synthetic_share: float,
    settings: UnitSettings,
    start: Path | None = None,
) -> Part:
    """Train a small encoder on spoken digits and synthetic speech, then its units.

    Args:
        data: the Free Spoken Digit Dataset with its `manifest.jsonl`.
        training: settings of the encoder's training; its checkpoint in `output` is resumed.
        hours: synthetic speech to train on.
        synthetic_share: share of synthetic speech among the frames that are clustered.
        start: an audio part, whose encoder is trained on.

    Raises:
        TrainingError: the data is not there, or a checkpoint of another configuration.
        MissingExtraError: espeak-ng is not installed.
    """
    if not 0 <= synthetic_share < 1:
        raise ConfigError(f"expected a synthetic share in 0..1, received {synthetic_share}")
    rate_hz = training.sample_rate_hz
    splits = {
        name: load_digits(data, name, sample_rate_hz=rate_hz)
        for name in ("train", "known", "unknown")
    }
    output.mkdir(parents=True, exist_ok=True)
    logger.info("speaking %.2f hours of words", hours)
    synthetic = list(synthesize_words(hours=hours, sample_rate_hz=rate_hz, seed=training.seed))
    begun = None if start is None else Part.load(start, modality="audio")
    model = train_unit_encoder(
        training,
        splits["train"],
        synthetic,
        start=None if begun is None else _encoder_of(begun),
        checkpoint=output / CHECKPOINT_FILE,
    )
    round_to_half(model)
    draft = _draft(
        AudioEncoder.of(model, layer=settings.layer, normalize=True), rate_hz, settings, None
    )
    rng = np.random.default_rng(settings.seed)
    sequences = [
        digit_sequence(splits["train"], rng, rate_hz=rate_hz)
        for _ in range(len(splits["train"]) // 4)
    ]
    clips = _mixed([*splits["train"], *sequences], synthetic, synthetic_share)
    tokenizer, figures = _fitted(draft, _clip_features(draft, clips), settings)
    figures |= evaluate_units(tokenizer, splits, seed=settings.seed)
    paths = [path for path, _, _ in digit_paths(data, "train")]
    provenance = {
        "command": f"dvse train audio --steps {training.steps} --hours {hours:g} "
        f"--synthetic-share {synthetic_share:g} --layer {settings.layer} "
        f"--num-codes {settings.num_codes} --seed {training.seed} "
        f"--learning-rate {training.learning_rate:g}",
        **({} if begun is None else {"start": begun.provenance}),
        "data": [
            {
                "name": "Free Spoken Digit Dataset, training split",
                "licence": "CC BY-SA 4.0",
                "files": len(paths),
                "sha256": _files_sha256(paths),
            },
            {
                "name": f"words spoken by espeak-ng, {hours:g} hours",
                "licence": "output of espeak-ng (GPL-3.0 program), words listed in the recipe",
            },
        ],
        "labels": "digits and phones of the training data were used; see the recipe",
    }
    return _write(tokenizer, output, metrics=figures, provenance=provenance)


def audio_files(paths: Sequence[Path]) -> list[Path]:
    """Return the audio files in files and folders, sorted.

    Raises:
        TrainingError: none there.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found |= {p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES}
        else:
            found.add(path)
    if not found:
        raise TrainingError(
            f"expected recordings ({' '.join(AUDIO_SUFFIXES)}) in "
            f"{', '.join(map(str, paths))}, found none"
        )
    return sorted(found)


def _encoder_of(part: Part) -> Any:
    return AudioTokenizer.from_spec(part.spec, part.folder).encoder.model


def _draft(
    encoder: AudioEncoder,
    sample_rate_hz: int,
    settings: UnitSettings,
    hub_weights: HubWeights | None,
) -> AudioTokenizer:
    """Return a tokenizer whose codebook says nothing yet: its `embed` is what is clustered."""
    frame_s = encoder.grid.stride / sample_rate_hz
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(torch.zeros(1, 1, encoder.dim)),
        sample_rate_hz=sample_rate_hz,
        windowing=Windowing(
            window_frames=round(settings.window_s / frame_s),
            hop_frames=round(settings.hop_s / frame_s),
        ),
        merge_repeats=settings.merge_repeats,
        hub_weights=hub_weights,
    )


def _fitted(
    draft: AudioTokenizer, features: Iterator[np.ndarray], settings: UnitSettings
) -> tuple[AudioTokenizer, dict[str, Any]]:
    sample = sample_frames(features, max_frames=settings.max_frames, seed=settings.seed)
    vectors = sample.vectors
    logger.info(
        "clustering %d of %d frames, %.0f MB in memory",
        len(vectors),
        sample.num_seen,
        vectors.nbytes / 1e6,
    )
    codebook = fit_codebook(vectors, settings.num_codes, seed=settings.seed)
    codebook = Codebook(separate(vectors, codebook.centroids[0])[None])
    tokenizer = _with_codebook(draft, codebook)
    used = usage(codebook.encode(torch.from_numpy(vectors))[:, 0].numpy(), settings.num_codes)
    return tokenizer, {
        "clustered_frames": len(vectors),
        "clustered_codes_used": round(used.share, 4),
        "clustered_perplexity": round(used.perplexity, 1),
    }


def _with_codebook(draft: AudioTokenizer, codebook: Codebook) -> AudioTokenizer:
    return AudioTokenizer(
        encoder=draft.encoder,
        codebook=codebook,
        sample_rate_hz=draft.sample_rate_hz,
        windowing=draft.preparer.windowing,
        merge_repeats=draft.merge_repeats,
        hub_weights=draft.hub_weights,
    )


def _file_features(draft: AudioTokenizer, files: Sequence[Path]) -> Iterator[np.ndarray]:
    failed = 0
    for path in tqdm(files, desc="features", unit="file", disable=None):
        try:
            for chunk in draft.preparer.prepare(Audio(path)):
                yield from draft.embed([chunk])
        except InputError as error:
            failed += 1
            logger.warning("%s", error)
    if failed == len(files):
        raise TrainingError(f"none of {failed} recordings could be read; see the messages above")


def _clip_features(draft: AudioTokenizer, clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    for clip in clips:
        item = Audio(clip.samples, sample_rate_hz=draft.sample_rate_hz)
        yield from draft.embed(list(draft.preparer.prepare(item)))


def _mixed(recorded: Sequence[Clip], synthetic: Sequence[Clip], share: float) -> list[Clip]:
    """Return all recorded clips, and synthetic ones until `share` of the samples are theirs."""
    wanted = sum(len(clip.samples) for clip in recorded) * share / (1 - share)
    chosen: list[Clip] = []
    for clip in synthetic:
        if wanted <= 0:
            break
        chosen.append(clip)
        wanted -= len(clip.samples)
    return [*recorded, *chosen]


def _write(
    tokenizer: AudioTokenizer, output: Path, *, metrics: dict[str, Any], provenance: dict[str, Any]
) -> Part:
    part = Part(
        modality="audio",
        folder=output,
        spec=tokenizer.spec(),
        metrics=metrics,
        provenance=provenance,
    )
    try:
        tokenizer.save_files(output)
        part.save()  # last: a folder without it is no part
    except OSError as error:
        raise TrainingError(
            f"{output}: the part cannot be written; {error.strerror or error}. Free some space and "
            "run the command again"
        ) from error
    return part


def _remove_empty_folders(folder: Path) -> None:
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _files_sha256(paths: Sequence[Path]) -> str:
    """Return a hash of the bytes of all files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
