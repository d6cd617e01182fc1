"""Figures of a set of speech units: agreement with spoken digits, use, and steadiness.

Everything is measured through the tokenizer that ships. Beside it stands the same measurement of
k-means on mean-normalised log-mel frames, fitted to the same training recordings with the same
number of codes, in the same run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dvse.audio.tokenizer import AudioTokenizer
from dvse.items import Audio
from pipelines.codebooks.kmeans.restarts import fit_codebook
from pipelines.codebooks.usage import count_codes
from pipelines.evaluation.measures.agreement import (
    cluster_purity,
    joint_counts,
    label_map,
    label_purity,
    pnmi,
)
from pipelines.speech.clips import Clip
from pipelines.speech.log_mel import LogMel
from pipelines.speech.word_lists import DIGIT_WORDS

HOW_MEASURED = (
    "Frames labelled with the digit spoken in their recording. label_purity: share of frames whose "
    "label is the one their unit stands for, the map taken from training recordings; "
    "label_purity_own_map: the map from the same frames (HuBERT, section IV-C); pnmi, "
    "cluster_purity: as there. log_mel: k-means on mean-normalised log-mel frames of the training "
    "recordings with the same number of codes in the same run. known: indices 5-9 of the speakers "
    "trained on; unknown: all recordings of the speaker never trained on. changed: share of units "
    "that differ after white noise of 5 % of the recording's RMS, without its first sample, or "
    "0.5 dB louder."
)

Splits = Mapping[str, Sequence[Clip]]


def units_of(tokenizer: AudioTokenizer, samples: np.ndarray) -> np.ndarray:
    """Return the first level's units `int64 [frames]` of mono samples at the tokenizer's rate."""
    item = Audio(samples, sample_rate_hz=tokenizer.sample_rate_hz)
    codes = tokenizer.encode(list(tokenizer.preparer.prepare(item)))
    return np.concatenate(codes)[:, 0].astype(np.int64)


def evaluate_units(tokenizer: AudioTokenizer, splits: Splits, *, seed: int = 0) -> dict[str, Any]:
    """Return the figures of a tokenizer on digit recordings.

    Args:
        splits: clips of `train`, `known` and `unknown`, see `pipelines.speech.clips`.
    """
    units = {
        name: [units_of(tokenizer, clip.samples) for clip in clips]
        for name, clips in splits.items()
    }
    grid = tokenizer.preparer.grid
    mel = LogMel(sample_rate_hz=tokenizer.sample_rate_hz, stride=grid.stride, reach=grid.reach)
    frames = {name: [mel(clip.samples) for clip in clips] for name, clips in splits.items()}
    book = fit_codebook(np.concatenate(frames["train"]), tokenizer.num_codes, seed=seed)
    plain = {
        name: [book.encode(torch.from_numpy(f))[:, 0].numpy() for f in clips]
        for name, clips in frames.items()
    }
    ours, peer = (_agreement(u, splits, tokenizer.num_codes) for u in (units, plain))
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
        "changed": {name: _changed(tokenizer, splits[name]) for name in ("known", "unknown")},
    }


def _agreement(
    units: Mapping[str, Sequence[np.ndarray]], splits: Splits, num_codes: int
) -> dict[str, Any]:
    counts = {
        name: joint_counts(
            np.concatenate(
                [
                    np.full(len(u), clip.digits[0])
                    for u, clip in zip(units[name], clips, strict=True)
                ]
            ),
            np.concatenate(units[name]),
            num_labels=len(DIGIT_WORDS),
            num_units=num_codes,
        )
        for name, clips in splits.items()
    }
    meanings = label_map(counts["train"])
    figures = {}
    for name, table in counts.items():
        used = count_codes(np.concatenate(units[name]), num_codes)
        figures[name] = {
            "frames": int(table.sum()),
            "label_purity": round(label_purity(table, meanings), 4),
            "label_purity_own_map": round(label_purity(table), 4),
            "cluster_purity": round(cluster_purity(table), 4),
            "pnmi": round(pnmi(table), 4),
            "codes_used": round(used.share_used, 4),
            "perplexity": round(used.perplexity, 1),
        }
    both = np.concatenate([u for name in ("known", "unknown") for u in units[name]])
    figures["validation"] = {"codes_used": round(count_codes(both, num_codes).share_used, 4)}
    return figures


def _changed(tokenizer: AudioTokenizer, clips: Sequence[Clip]) -> dict[str, float]:
    """Return the share of units that each small change of the sound alters."""
    rng = np.random.default_rng(0)
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "noise_5_percent": lambda x: (
            x + 0.05 * np.sqrt(np.mean(x**2)) * rng.standard_normal(len(x))
        ).astype(np.float32),
        "shift_1_sample": lambda x: x[1:],
        "gain_0.5_db": lambda x: (x * 10 ** (0.5 / 20)).astype(np.float32),
    }
    different, total = dict.fromkeys(changes, 0), dict.fromkeys(changes, 0)
    for clip in clips:
        before = units_of(tokenizer, clip.samples)
        for name, change in changes.items():
            after = units_of(tokenizer, change(clip.samples))
            count = min(len(before), len(after))
            different[name] += int((before[:count] != after[:count]).sum())
            total[name] += count
    return {name: round(different[name] / max(total[name], 1), 4) for name in changes}
