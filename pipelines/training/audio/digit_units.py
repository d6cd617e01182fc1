"""Units of a small encoder that is trained here: the audio part of the shipped `tiny`.

The encoder learns from the spoken digits and from speech made by espeak-ng; its units are measured
on recordings that it has never heard.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvse.audio.encoder import AudioEncoder
from dvse.audio.tokenizer import AudioTokenizer
from dvse.codebook import Codebook
from dvse.errors import TrainingError
from dvse.items import Audio
from dvse.remote.remote_path import RemotePath
from dvse.storage.part import Part
from dvse.storage.weights import round_to_half
from pipelines.codebooks.kmeans import Reservoir
from pipelines.codebooks.kmeans.restarts import fit_codebook
from pipelines.codebooks.near_duplicates import separate
from pipelines.codebooks.renumbering import renumber
from pipelines.codebooks.settings import Clustering
from pipelines.codebooks.usage import count_codes
from pipelines.speech.clips import Clip, digit_paths, load_digits, synthesize_words
from pipelines.speech.joining import digit_sequence
from pipelines.training.audio.draft import draft_tokenizer, encoder_of
from pipelines.training.audio.encoder_loop import train_unit_encoder
from pipelines.training.audio.part import write_audio_part
from pipelines.training.audio.settings import DigitUnitRecipe
from pipelines.training.audio.unit_figures import evaluate_units, units_of
from pipelines.training.audio.window_share import window_figures
from pipelines.training.parts import hash_files

logger = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"


def train_digit_units(recipe: DigitUnitRecipe, output: Path) -> Part:
    """Train a small encoder on spoken digits and synthetic speech, then its units.

    A checkpoint of the encoder's training in `output` is resumed.

    Raises:
        TrainingError: the data is not there, or a checkpoint of another configuration.
        MissingExtraError: espeak-ng is not installed.
    """
    data, small = recipe.data[0], recipe.small
    if isinstance(data, RemotePath):
        raise TrainingError(f"{data}: the Free Spoken Digit Dataset has to lie on this machine")
    training = replace(small.training, longest_s=recipe.units.window_s)
    rate_hz, seed = training.sample_rate_hz, recipe.clustering.kmeans.seed
    splits = {
        name: load_digits(data, name, sample_rate_hz=rate_hz)
        for name in ("train", "known", "unknown")
    }
    output.mkdir(parents=True, exist_ok=True)
    logger.info("speaking %.2f hours of words", small.hours)
    synthetic = list(
        synthesize_words(hours=small.hours, sample_rate_hz=rate_hz, seed=training.seed)
    )
    begun = None if small.start is None else Part.load(small.start, modality="audio")
    model = train_unit_encoder(
        training,
        splits["train"],
        synthetic,
        start=None if begun is None else encoder_of(begun),
        checkpoint=output / CHECKPOINT_FILE,
    )
    round_to_half(model)
    encoder = AudioEncoder.of(
        model,
        layer=recipe.units.layer,
        normalize=True,
        normalize_over="recording" if recipe.units.normalize == "recording" else "window",
        variance_floor=recipe.units.variance_floor,
    )
    draft = draft_tokenizer(encoder, rate_hz, recipe.units, None)
    rng = np.random.default_rng(seed)
    sequences = [
        digit_sequence(splits["train"], rng, rate_hz=rate_hz)
        for _ in range(len(splits["train"]) // 4)
    ]
    clips = _mixed([*splits["train"], *sequences], synthetic, small.synthetic_share)
    tokenizer, figures = _fitted(draft, _clip_features(draft, clips), recipe.clustering)
    if begun is not None:
        before = AudioTokenizer.from_spec(begun.spec, begun.folder)
        tokenizer = _renumbered(tokenizer, before, splits["train"])
    figures |= evaluate_units(tokenizer, splits)
    figures |= window_figures(tokenizer, (clip.samples for clip in splits["unknown"]))
    provenance = _provenance(recipe, data, begun)
    return write_audio_part(tokenizer, output, metrics=figures, provenance=provenance)


def _provenance(recipe: DigitUnitRecipe, data: Path, begun: Part | None) -> dict[str, Any]:
    small, training = recipe.small, recipe.small.training
    paths = [path for path, _, _ in digit_paths(data, "train")]
    return {
        "command": f"dvse train audio --steps {training.steps} --hours {small.hours:g} "
        f"--synthetic-share {small.synthetic_share:g} --layer {recipe.units.layer} "
        f"--num-codes {recipe.clustering.kmeans.num_codes} --seed {training.seed} "
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
                "name": f"words spoken by espeak-ng, {small.hours:g} hours",
                "licence": "output of espeak-ng (GPL-3.0 program), words listed in the recipe",
            },
        ],
        "labels": "digits and phones of the training data were used; see the recipe",
    }


def _fitted(
    draft: AudioTokenizer, features: Iterator[np.ndarray], clustering: Clustering
) -> tuple[AudioTokenizer, dict[str, Any]]:
    kmeans = clustering.kmeans
    sample = Reservoir(capacity=clustering.max_features, seed=kmeans.seed)
    for block in features:
        sample.add(block)
    vectors = sample.vectors
    logger.info(
        "clustering %d of %d frames, %.0f MB in memory",
        len(vectors),
        sample.num_seen,
        vectors.nbytes / 1e6,
    )
    codebook = fit_codebook(vectors, kmeans.num_codes, seed=kmeans.seed)
    codebook = Codebook(separate(vectors, codebook.centroids[0])[None])
    tokenizer = draft.with_codebook(codebook)
    used = count_codes(codebook.encode(torch.from_numpy(vectors))[:, 0].numpy(), kmeans.num_codes)
    return tokenizer, {
        "clustered_frames": len(vectors),
        "clustered_codes_used": round(used.share_used, 4),
        "clustered_perplexity": round(used.perplexity, 1),
    }


def _renumbered(
    tokenizer: AudioTokenizer, before: AudioTokenizer, clips: Sequence[Clip]
) -> AudioTokenizer:
    """Return the tokenizer with units numbered after those that it began with."""
    old, new = (
        np.concatenate([units_of(one, clip.samples) for clip in clips])
        for one in (before, tokenizer)
    )
    if tokenizer.num_codes != before.num_codes or len(old) != len(new):
        return tokenizer  # another number of units or of frames: none has a counterpart
    assert tokenizer.codebook is not None
    order = renumber(old, new, tokenizer.num_codes)
    return tokenizer.with_codebook(Codebook(tokenizer.codebook.centroids[:, order]))


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
