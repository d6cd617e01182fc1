"""Figures of speech units, and what of them to look at and listen to."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dvse.audio.merging import merge_repeats
from dvse.errors import MissingExtraError, TrainingError
from dvse.tokenizer import Tokenizer
from pipelines.codebooks.run_figures import run_figures
from pipelines.codebooks.run_learning import learn_runs
from pipelines.codebooks.usage import CodebookUsage, count_codes
from pipelines.evaluation.encoded import EncodedInput, encode_inputs
from pipelines.evaluation.measures.abx import abx_error, draw_triples
from pipelines.evaluation.probes import probe_figures
from pipelines.evaluation.robustness import share_changed
from pipelines.evaluation.spoken_words import spoken_words
from pipelines.evaluation.unit_agreement import TRAIN, agreement, log_mel_units

Splits = Mapping[str, Sequence[EncodedInput]]
_NUM_TRIPLES = 1500
_NUM_RUNS = 1024
_WORDS = "words spoken by espeak-ng"


@dataclass(frozen=True, kw_only=True)
class UnitSegment:
    """A stretch of one unit: where it lies and how typical it is."""

    entry: EncodedInput
    start: int
    stop: int
    distance: float


def audio_figures(
    tokenizer: Tokenizer,
    train: Sequence[EncodedInput],
    splits: Splits,
    *,
    probe: bool = True,
    words: bool = True,
) -> dict[str, Any]:
    """Return the figures of the units on each split; their meaning is learnt from `train`.

    With `words` also how well units tell apart words that espeak-ng speaks in several voices.
    """
    audio: Any = tokenizer.audio
    everything = [entry for inputs in splits.values() for entry in inputs]
    usages = audio_usage(tokenizer, everything)
    figures: dict[str, Any] = {
        "usage": [usage.figures() for usage in usages],
        "bitrate": _bitrate(tokenizer, usages, everything),
        "runs": _runs(tokenizer, train, everything),
    }
    sequences = {TRAIN: train, **splits}
    if words:
        try:
            sequences[_WORDS] = encode_inputs(tokenizer, "audio", spoken_words())
        except MissingExtraError as error:
            figures["words"] = {"not_measured": str(error)}
    ours = _Units.of(tokenizer, sequences)
    peer: _Units | None = None
    try:
        peer = _Units.of_log_mel(tokenizer, sequences)
        figures["log_mel"] = {name: peer.figures(name) for name in splits}
    except TrainingError as error:
        figures["log_mel"] = {"not_measured": str(error)}
    figures["splits"] = {
        name: {
            **ours.figures(name),
            "changed": {
                k: round(v, 4) for k, v in share_changed(tokenizer, "audio", inputs).items()
            },
        }
        for name, inputs in splits.items()
    }
    for name, split in figures["splits"].items():
        floor = figures["log_mel"].get(name, {}).get("label_purity")
        if floor:
            split["label_purity_ratio"] = round(split["label_purity"] / floor, 4)
    if _WORDS in sequences:
        figures["words"] = _word_figures(sequences[_WORDS], ours, peer)
    if probe and len({e.source.label for e in train}) > 1:
        centroids = audio.codebook.centroids.cpu()
        figures["probes"] = probe_figures(
            train, splits, num_codes=audio.num_codes, centroids=centroids
        )
    return figures


@dataclass(frozen=True, kw_only=True)
class _Units:
    """Units of all splits, with the distances between them."""

    units: Mapping[str, Sequence[np.ndarray]]
    distances: np.ndarray
    inputs: Splits
    num_codes: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, inputs: Splits) -> "_Units":
        audio: Any = tokenizer.audio
        centroids = audio.codebook.centroids[0].cpu()
        return cls(
            units={name: [e.codes[:, 0] for e in part] for name, part in inputs.items()},
            distances=torch.cdist(centroids, centroids).numpy(),
            inputs=inputs,
            num_codes=audio.num_codes,
        )

    @classmethod
    def of_log_mel(cls, tokenizer: Tokenizer, inputs: Splits) -> "_Units":
        audio: Any = tokenizer.audio
        samples = {name: [e.data for e in part] for name, part in inputs.items()}
        found = log_mel_units(audio, samples)
        return cls(
            units=found.units, distances=found.distances, inputs=inputs, num_codes=audio.num_codes
        )

    def figures(self, split: str) -> dict[str, Any]:
        labels = {name: [e.source.label for e in part] for name, part in self.inputs.items()}
        return {**agreement(self.units, labels, split, self.num_codes), **self.abx(split)}

    def abx(self, split: str) -> dict[str, Any]:
        words = [entry.source.label for entry in self.inputs[split]]
        speakers = [entry.source.speaker for entry in self.inputs[split]]
        if len(set(words)) < 2 or len(set(words)) == len(words):
            return {}
        triples = draw_triples(words, speakers, num_triples=_NUM_TRIPLES)
        error = abx_error(self.units[split], triples, lambda a, b: self.distances[np.ix_(a, b)])
        return {"abx_error": round(error, 4), "abx_across_speakers": len(set(speakers)) > 1}


def _word_figures(
    words: Sequence[EncodedInput], ours: _Units, peer: _Units | None
) -> dict[str, Any]:
    figures = {
        "words": len({e.source.label for e in words}),
        "voices": sorted({e.source.speaker for e in words}),
        **ours.abx(_WORDS),
    }
    if peer is not None:
        floor = peer.abx(_WORDS)["abx_error"]
        figures["log_mel_abx_error"] = floor
        figures["abx_error_over_log_mel"] = round(figures["abx_error"] - floor, 4)
    return figures


def audio_usage(tokenizer: Tokenizer, inputs: Sequence[EncodedInput]) -> list[CodebookUsage]:
    """Return the use of each level over inputs."""
    audio: Any = tokenizer.audio
    codes = np.concatenate([entry.codes for entry in inputs])
    return [
        count_codes(
            codes[:, level], audio.num_codes, centroids=audio.codebook.centroids[level].cpu()
        )
        for level in range(audio.num_levels)
    ]


def typical_segments(
    tokenizer: Tokenizer, inputs: Sequence[EncodedInput], *, num_units: int = 12, each: int = 8
) -> dict[int, list[UnitSegment]]:
    """Return the segments of the most used units whose features lie nearest to the centroid."""
    audio: Any = tokenizer.audio
    centroids = audio.codebook.centroids[0].cpu().numpy()
    stride = audio.preparer.grid.stride
    found: dict[int, list[UnitSegment]] = {}
    counts = np.bincount(np.concatenate([e.codes[:, 0] for e in inputs]))
    for entry in inputs:
        # Of a long recording, what lies in its first window.
        units = entry.codes[: max(1, len(entry.data) // stride - 1), 0]
        edges = [0, *(np.flatnonzero(np.diff(units)) + 1), len(units)]
        for start, stop in itertools.pairwise(edges):
            gap = entry.features[start:stop] - centroids[units[start]]
            segment = UnitSegment(
                entry=entry,
                start=int(start),
                stop=int(stop),
                distance=float(np.linalg.norm(gap, axis=1).mean()),
            )
            found.setdefault(int(units[start]), []).append(segment)
    most_used = np.argsort(-counts, kind="stable")[:num_units]
    return {
        int(unit): sorted(found[int(unit)], key=lambda s: s.distance)[:each]
        for unit in most_used
        if int(unit) in found
    }


def _runs(
    tokenizer: Tokenizer, train: Sequence[EncodedInput], inputs: Sequence[EncodedInput]
) -> dict[str, Any]:
    """Return how much shorter recordings are where frequent runs of units are one id each.

    The runs are the bundle's; where it has none, they are learnt from `train`. Merging of repeats,
    where the bundle has it, comes first.
    """
    audio: Any = tokenizer.audio
    runs = tokenizer.vocabulary.runs
    if audio.num_levels > 1:
        return {"not_measured": "runs of residual levels are not defined"}
    are_of_bundle = bool(runs)
    if not are_of_bundle:
        try:
            units = (audio.merge(entry.codes)[0][:, 0] for entry in train)
            runs = learn_runs(units, known=runs, num_runs=_NUM_RUNS)
        except TrainingError as error:
            return {"not_measured": str(error)}
    return {
        "of": "the bundle" if are_of_bundle else "this report, learnt from the training data",
        **run_figures(
            runs,
            (audio.merge(entry.codes)[0][:, 0] for entry in inputs),
            seconds=sum(entry.duration_s for entry in inputs),
        ),
    }


def _bitrate(
    tokenizer: Tokenizer, usages: Sequence[CodebookUsage], inputs: Sequence[EncodedInput]
) -> dict[str, Any]:
    """Return units and bits a second; bits by code length, and by entropy of the codes."""
    audio: Any = tokenizer.audio
    seconds = sum(entry.duration_s for entry in inputs)
    frames = sum(len(entry.codes) for entry in inputs)
    merged = sum(len(merge_repeats(entry.codes).codes) for entry in inputs)
    bits = audio.num_levels * math.log2(audio.num_codes)
    entropy = sum(math.log2(usage.perplexity) for usage in usages)
    return {
        "seconds": round(seconds, 1),
        "units_per_s": round(frames / seconds, 2),
        "merged_units_per_s": round(merged / seconds, 2),
        "bits_per_s": round(frames / seconds * bits, 1),
        "entropy_bits_per_s": round(frames / seconds * entropy, 1),
        "merged_bits_per_s": round(merged / seconds * bits, 1),
    }
