"""Figures of speech units, and what of them to look at and listen to."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dvse.audio.merging import merge_repeats
from dvse.errors import MissingExtraError, TrainingError
from dvse.tokenizer import Tokenizer
from pipelines.codebooks.kmeans import ArrayFeatures, KMeansSettings, train_codebook
from pipelines.codebooks.usage import CodebookUsage, count_codes
from pipelines.evaluation.encoded import EncodedInput, encode_inputs
from pipelines.evaluation.measures.abx import abx_error, draw_triples
from pipelines.evaluation.measures.agreement import (
    cluster_purity,
    joint_counts,
    label_map,
    label_purity,
    pnmi,
)
from pipelines.evaluation.probes import probe_figures
from pipelines.evaluation.robustness import share_changed
from pipelines.evaluation.spoken_words import spoken_words
from pipelines.speech.log_mel import LogMel

Splits = Mapping[str, Sequence[EncodedInput]]
_NUM_TRIPLES = 1500
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
    usages = audio_usage(tokenizer, [e for inputs in splits.values() for e in inputs])
    figures: dict[str, Any] = {
        "usage": [usage.figures() for usage in usages],
        "bitrate": _bitrate(tokenizer, usages, [e for part in splits.values() for e in part]),
        "splits": {},
        "log_mel": {},
    }
    sequences = {"train": train, **splits}
    if words:
        try:
            sequences[_WORDS] = encode_inputs(tokenizer, "audio", spoken_words())
        except MissingExtraError as error:
            figures["words"] = {"not_measured": str(error)}
    units = {name: [e.codes[:, 0] for e in part] for name, part in sequences.items()}
    table = torch.cdist(audio.codebook.centroids[0].cpu(), audio.codebook.centroids[0].cpu())
    mel: _LogMelUnits | None = None
    try:
        mel = _log_mel_units(tokenizer, sequences)
    except TrainingError as error:
        figures["log_mel"]["not_measured"] = str(error)
    for name, inputs in splits.items():
        figures["splits"][name] = {
            **_agreement(units, sequences, name, audio.num_codes),
            **_abx(units[name], inputs, _by_table(table.numpy())),
            "changed": {
                k: round(v, 4) for k, v in share_changed(tokenizer, "audio", inputs).items()
            },
        }
        if mel is not None:
            figures["log_mel"][name] = {
                **_agreement(mel.units, sequences, name, audio.num_codes),
                **_abx(mel.units[name], inputs, _by_table(mel.distances)),
            }
    for name, split in figures["splits"].items():
        floor = figures["log_mel"].get(name, {}).get("label_purity")
        if floor:
            split["label_purity_ratio"] = round(split["label_purity"] / floor, 4)
    if _WORDS in sequences:
        figures["words"] = {
            "words": len({e.source.label for e in sequences[_WORDS]}),
            "voices": sorted({e.source.speaker for e in sequences[_WORDS]}),
            **_abx(units[_WORDS], sequences[_WORDS], _by_table(table.numpy())),
        }
        if mel is not None:
            peer = _abx(mel.units[_WORDS], sequences[_WORDS], _by_table(mel.distances))
            figures["words"]["log_mel_abx_error"] = peer["abx_error"]
    if probe and len({e.source.label for e in train}) > 1:
        figures["probes"] = probe_figures(
            train,
            splits,
            num_codes=audio.num_codes,
            centroids=audio.codebook.centroids.cpu(),
        )
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


def _agreement(
    units: Mapping[str, Sequence[np.ndarray]], splits: Splits, name: str, num_codes: int
) -> dict[str, Any]:
    names = sorted({e.source.label for part in ("train", name) for e in splits[part]})
    if len(names) < 2:
        return {}
    tables = {}
    for split in ("train", name):
        labels = [
            np.full(len(u), names.index(entry.source.label))
            for u, entry in zip(units[split], splits[split], strict=True)
        ]
        tables[split] = joint_counts(
            np.concatenate(labels),
            np.concatenate(units[split]),
            num_labels=len(names),
            num_units=num_codes,
        )
    return {
        "frames": int(tables[name].sum()),
        "label_purity": round(label_purity(tables[name], label_map(tables["train"])), 4),
        "cluster_purity": round(cluster_purity(tables[name]), 4),
        "pnmi": round(pnmi(tables[name]), 4),
    }


def _abx(
    units: Sequence[np.ndarray],
    inputs: Sequence[EncodedInput],
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> dict[str, Any]:
    words = [entry.source.label for entry in inputs]
    speakers = [entry.source.speaker for entry in inputs]
    if len(set(words)) < 2 or len(set(words)) == len(words):
        return {}
    triples = draw_triples(words, speakers, num_triples=_NUM_TRIPLES)
    return {
        "abx_error": round(abx_error(units, triples, distance), 4),
        "abx_across_speakers": len(set(speakers)) > 1,
    }


def _by_table(table: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda a, b: table[np.ix_(a, b)]


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


@dataclass(frozen=True, kw_only=True)
class _LogMelUnits:
    units: dict[str, list[np.ndarray]]
    distances: np.ndarray


def _log_mel_units(tokenizer: Tokenizer, splits: Splits) -> _LogMelUnits:
    """Return units of k-means over log-mel frames with as many codes, and their distances."""
    audio: Any = tokenizer.audio
    grid = audio.preparer.grid
    mel = LogMel(sample_rate_hz=audio.sample_rate_hz, stride=grid.stride, reach=grid.reach)
    frames = {name: [mel(entry.data) for entry in part] for name, part in splits.items()}
    settings = KMeansSettings(num_codes=audio.num_codes, num_passes=20)
    book = train_codebook(ArrayFeatures(np.concatenate(frames["train"])), settings).codebook
    units = {
        name: [book.encode(torch.from_numpy(f))[:, 0].numpy() for f in part]
        for name, part in frames.items()
    }
    distances = torch.cdist(book.centroids[0], book.centroids[0]).numpy()
    return _LogMelUnits(units=units, distances=distances)
