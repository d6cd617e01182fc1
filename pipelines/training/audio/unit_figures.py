"""Figures of a set of speech units: agreement with spoken digits, use, and steadiness.

Everything is measured through the tokenizer that ships. Beside it stands the same measurement of
k-means on mean-normalised log-mel frames, fitted to the same training recordings with the same
number of codes, in the same run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dvse.audio.tokenizer import AudioTokenizer
from dvse.items import Audio
from pipelines.codebooks.usage import count_codes
from pipelines.evaluation.robustness import AUDIO_CHANGES, share_different
from pipelines.evaluation.unit_agreement import agreement, log_mel_units
from pipelines.speech.clips import Clip

HOW_MEASURED = (
    "Frames labelled with the digit spoken in their recording. label_purity: share of frames whose "
    "label is the one their unit stands for, the map taken from training recordings; "
    "label_purity_own_map: the map from the same frames (HuBERT, section IV-C); cluster_purity: as "
    "there; file_label_nmi: PNMI's formula over these whole-file labels, no phones. log_mel: "
    "k-means on mean-normalised log-mel frames of the training recordings with the same number of "
    "codes in the same run. known: indices 5-9 of the speakers trained on; unknown: all recordings "
    "of the speaker never trained on. changed: share of units that differ after white noise of 5 % "
    "of the recording's RMS, without its first sample, or 0.5 dB louder."
)

Splits = Mapping[str, Sequence[Clip]]


def units_of(tokenizer: AudioTokenizer, samples: np.ndarray) -> np.ndarray:
    """Return the first level's units `int64 [frames]` of mono samples at the tokenizer's rate."""
    item = Audio(samples, sample_rate_hz=tokenizer.sample_rate_hz)
    codes = tokenizer.encode(list(tokenizer.preparer.prepare(item)))
    return np.concatenate(codes)[:, 0].astype(np.int64)


def evaluate_units(tokenizer: AudioTokenizer, splits: Splits) -> dict[str, Any]:
    """Return the figures of a tokenizer on digit recordings.

    Args:
        splits: clips of `train`, `known` and `unknown`, see `pipelines.speech.clips`.
    """
    units = {
        name: [units_of(tokenizer, clip.samples) for clip in clips]
        for name, clips in splits.items()
    }
    samples = {name: [clip.samples for clip in clips] for name, clips in splits.items()}
    plain = log_mel_units(tokenizer, samples).units
    ours, peer = (_figures(u, splits, tokenizer.num_codes) for u in (units, plain))
    return {
        "how": HOW_MEASURED,
        "num_codes": tokenizer.num_codes,
        "frame_rate_hz": tokenizer.frame_rate_hz,
        "units": ours,
        "log_mel": peer,
        "label_purity_ratio": {
            name: round(ours[name]["label_purity"] / peer[name]["label_purity"], 4)
            for name in ("known", "unknown")
        },
        "changed": {
            name: _changed(tokenizer, splits[name], units[name]) for name in ("known", "unknown")
        },
    }


def _figures(
    units: Mapping[str, Sequence[np.ndarray]], splits: Splits, num_codes: int
) -> dict[str, Any]:
    labels = {name: [str(clip.digits[0]) for clip in clips] for name, clips in splits.items()}
    figures = {}
    for name in splits:
        used = count_codes(np.concatenate(units[name]), num_codes)
        figures[name] = {
            **agreement(units, labels, name, num_codes),
            "codes_used": round(used.share_used, 4),
            "perplexity": round(used.perplexity, 1),
        }
    both = np.concatenate([u for name in ("known", "unknown") for u in units[name]])
    figures["validation"] = {"codes_used": round(count_codes(both, num_codes).share_used, 4)}
    return figures


def _changed(
    tokenizer: AudioTokenizer, clips: Sequence[Clip], units: Sequence[np.ndarray]
) -> dict[str, float]:
    """Return the share of units that each small change of the sound alters."""
    return {
        name: round(
            share_different(units, [units_of(tokenizer, change(clip.samples)) for clip in clips]),
            4,
        )
        for name, change in AUDIO_CHANGES.items()
    }
