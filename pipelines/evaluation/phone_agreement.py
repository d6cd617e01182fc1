"""Units against phones, frame by frame: the figures of HuBERT's Table 4 (Hsu et al. 2021).

A frame carries the phone that is said in its middle. Frames without one (outside the alignment)
do not count; silence counts where the alignment names it, as there.

*Deviations:* HuBERT's own script counts each frame of 20 ms twice, against two labels of 10 ms.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dvse.audio.preparer import AudioPreparer
from dvse.audio.sample_chunks import SampleChunks
from pipelines.evaluation.alignments import Alignment, utterance_of
from pipelines.evaluation.encoded import EncodedInput
from pipelines.evaluation.measures.agreement import (
    cluster_purity,
    joint_counts,
    label_purity,
    pnmi,
)


def frame_times(preparer: AudioPreparer, num_frames: int) -> np.ndarray:
    """Return the middle of each of a recording's frames in seconds, `float64 [num_frames]`."""
    grid, places = preparer.grid, np.arange(num_frames)
    starts = places * grid.stride
    if isinstance(preparer.windowing, SampleChunks):
        size = preparer.windowing.chunk_samples
        chunk, place = np.divmod(places, grid.num_frames(size))
        starts = chunk * size + place * grid.stride
    return (starts + grid.reach / 2 - preparer.pad_samples) / preparer.sample_rate_hz


def phone_figures(
    inputs: Sequence[EncodedInput],
    alignments: Mapping[str, Alignment],
    preparer: AudioPreparer,
    num_codes: int,
) -> dict[str, Any]:
    """Return the agreement of first-level units with phones; nothing where none is aligned.

    Returns:
        frames, phones (kinds), pnmi, phone_purity, cluster_purity; `per_phone`, the share of a
        phone's frames whose unit stands for it, and its frames; `not_aligned` recordings.
    """
    units: list[np.ndarray] = []
    phones: list[str] = []
    missing = 0
    for entry in inputs:
        alignment = utterance_of(entry.source.name, alignments)
        if alignment is None:
            missing += 1
            continue
        said = alignment.at(frame_times(preparer, len(entry.codes)).tolist())
        known = [place for place, phone in enumerate(said) if phone is not None]
        units.append(entry.codes[known, 0])
        phones += [str(said[place]) for place in known]
    names = sorted(set(phones))
    if len(names) < 2:
        return {"not_aligned": missing} if missing else {}
    index = {name: number for number, name in enumerate(names)}
    counts = joint_counts(
        np.array([index[phone] for phone in phones]),
        np.concatenate(units),
        num_labels=len(names),
        num_units=num_codes,
    )
    stands_for = counts.argmax(0)
    return {
        "frames": int(counts.sum()),
        "phones": len(names),
        "pnmi": round(pnmi(counts), 4),
        "phone_purity": round(label_purity(counts), 4),
        "cluster_purity": round(cluster_purity(counts), 4),
        "per_phone": {
            name: {
                "frames": int(row.sum()),
                "recognised": round(float(row[stands_for == number].sum() / row.sum()), 4),
            }
            for number, (name, row) in enumerate(zip(names, counts, strict=True))
        },
        "not_aligned": missing,
    }
