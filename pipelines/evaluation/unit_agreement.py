"""Units of speech held against labels, and against those of k-means over log-mel frames.

The one yardstick of units: `dvse evaluate` and `dvse train audio` both judge with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dvse.audio.tokenizer import AudioTokenizer
from pipelines.codebooks.kmeans import ArrayFeatures, KMeansSettings, train_codebook
from pipelines.evaluation.measures.agreement import (
    cluster_purity,
    joint_counts,
    label_map,
    label_purity,
    pnmi,
)
from pipelines.speech.log_mel import LogMel

TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class LogMelUnits:
    """Units of each split, and the distances `fp32 [K, K]` between their centroids."""

    units: dict[str, list[np.ndarray]]
    distances: np.ndarray


def agreement(
    units: Mapping[str, Sequence[np.ndarray]],
    labels: Mapping[str, Sequence[str]],
    split: str,
    num_codes: int,
) -> dict[str, Any]:
    """Return how well units say the label of their recording; their meaning is that in `train`.

    Args:
        units: for each split, an array `int [frames]` for each recording.
        labels: for each split, a label for each recording.
        split: which one is judged.
        num_codes: of the codebook.

    Returns:
        frames, label_purity (and with the map from these very frames), cluster_purity,
        file_label_nmi; nothing where there is one label only. The last is PNMI's formula over one
        label a recording: no phones are in it, so it is not the PNMI that papers publish (for that
        see `phone_agreement`).
    """
    names = sorted({*labels[TRAIN], *labels[split]})
    if len(names) < 2:
        return {}
    tables = {}
    for one in (TRAIN, split):
        of_frames = [
            np.full(len(u), names.index(label))
            for u, label in zip(units[one], labels[one], strict=True)
        ]
        tables[one] = joint_counts(
            np.concatenate(of_frames),
            np.concatenate(units[one]),
            num_labels=len(names),
            num_units=num_codes,
        )
    return {
        "frames": int(tables[split].sum()),
        "label_purity": round(label_purity(tables[split], label_map(tables[TRAIN])), 4),
        "label_purity_own_map": round(label_purity(tables[split]), 4),
        "cluster_purity": round(cluster_purity(tables[split]), 4),
        "file_label_nmi": round(pnmi(tables[split]), 4),
    }


def log_mel_units(
    audio: AudioTokenizer, samples: Mapping[str, Sequence[np.ndarray]]
) -> LogMelUnits:
    """Return units of k-means over mean-normalised log-mel frames, with as many codes.

    Args:
        audio: whose frames and number of codes are taken.
        samples: for each split mono recordings at the tokenizer's rate; fitted to `train`.

    Raises:
        TrainingError: fewer different frames than codes.
    """
    grid = audio.preparer.grid
    mel = LogMel(sample_rate_hz=audio.sample_rate_hz, stride=grid.stride, reach=grid.reach)
    frames = {name: [mel(one) for one in part] for name, part in samples.items()}
    settings = KMeansSettings(num_codes=audio.num_codes, num_passes=20)
    book = train_codebook(ArrayFeatures(np.concatenate(frames[TRAIN])), settings).codebook
    return LogMelUnits(
        units={
            name: [book.encode(torch.from_numpy(f))[:, 0].numpy() for f in part]
            for name, part in frames.items()
        },
        distances=torch.cdist(book.centroids[0], book.centroids[0]).numpy(),
    )
