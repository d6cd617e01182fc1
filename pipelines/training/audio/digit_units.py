"""Trains the audio part of a bundle: an encoder or a published one, then its units.

Two ways lead to a part. `train_units` takes a published encoder and any folder of recordings.
`train_digit_units` trains the small encoder of the shipped `tiny` as well, from the spoken digits
and from speech made by espeak-ng, and measures the result on recordings it has never heard.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvse.audio.encoder import AudioEncoder
from dvse.audio.tokenizer import AudioTokenizer
from dvse.codebook import Codebook
from dvse.errors import ConfigError
from dvse.items import Audio
from dvse.storage.part import Part
from dvse.storage.weights import round_to_half
from pipelines.codebooks.kmeans.reservoir import sample_frames
from pipelines.codebooks.kmeans.restarts import fit_codebook
from pipelines.codebooks.near_duplicates import separate
from pipelines.codebooks.usage import count_codes
from pipelines.speech.clips import Clip, digit_paths, load_digits, synthesize_words
from pipelines.speech.joining import digit_sequence
from pipelines.training.audio.draft import UnitSettings, draft_tokenizer, encoder_of, with_codebook
from pipelines.training.audio.encoder import UnitEncoderTraining
from pipelines.training.audio.encoder_loop import train_unit_encoder
from pipelines.training.audio.part import write_audio_part
from pipelines.training.audio.unit_figures import evaluate_units
from pipelines.training.parts import hash_files

logger = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.safetensors"


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
        start=None if begun is None else encoder_of(begun),
        checkpoint=output / CHECKPOINT_FILE,
    )
    round_to_half(model)
    draft = draft_tokenizer(
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
                "sha256": hash_files(paths),
            },
            {
                "name": f"words spoken by espeak-ng, {hours:g} hours",
                "licence": "output of espeak-ng (GPL-3.0 program), words listed in the recipe",
            },
        ],
        "labels": "digits and phones of the training data were used; see the recipe",
    }
    return write_audio_part(tokenizer, output, metrics=figures, provenance=provenance)


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
    tokenizer = with_codebook(draft, codebook)
    used = count_codes(codebook.encode(torch.from_numpy(vectors))[:, 0].numpy(), settings.num_codes)
    return tokenizer, {
        "clustered_frames": len(vectors),
        "clustered_codes_used": round(used.share_used, 4),
        "clustered_perplexity": round(used.perplexity, 1),
    }


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
