"""How much of the units depends on the cut: a long recording in windows, and encoded as a whole.

Near the edge of a window an encoder sees less than it would in the whole recording, and what it
normalises over is another stretch. So some units differ; how many, nobody can tell from settings.
Here it is measured, so that a part can say it of itself. A stretch is encoded twice, so how many
are follows how much sound was encoded anyway: recordings of ten seconds, ten minutes of them,
would else be encoded for longer to be measured than to be learnt from.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dvse.audio.decoding import opened
from dvse.audio.resampling import resample_stream
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.errors import InputError
from dvse.items import Audio
from dvse.remote.remote_path import Location
from pipelines.evaluation.robustness import share_different
from pipelines.training.audio.recordings import recording_at

NUM_WINDOWS = 3
"""A long recording is so many windows (or chunks) long."""
_NUM_RECORDINGS = 4
_SHARE = 20
"""Measuring encodes at most one frame for so many that were learnt from."""
_MOST_FILES = 1000
_HOW = (
    "share of first-level units that differ between the recording in windows and the recording "
    f"encoded as a whole; stretches of {NUM_WINDOWS} windows"
)


@dataclass(frozen=True, kw_only=True)
class LongRecordings:
    """Stretches that are longer than a window.

    Attributes:
        samples: mono float32 at the tokenizer's rate, all of one length.
        is_joined: made of short recordings one after the other, for there were no long ones.
    """

    samples: Sequence[np.ndarray]
    is_joined: bool


def window_figures(
    tokenizer: AudioTokenizer, recordings: Iterable[np.ndarray], *, num_frames: int | None = None
) -> dict[str, Any]:
    """Return the figures of a part on long recordings; none where there is too little sound.

    Args:
        tokenizer: with its codebook.
        recordings: mono float32 at its rate, read only as far as they are needed.
        num_frames: that were encoded to learn from; measuring takes a twentieth of that at most,
            but for one recording that is long by itself. By default it takes what it takes.
    """
    wanted = NUM_WINDOWS * tokenizer.preparer.windowing.full_samples(tokenizer.preparer.grid)
    most = _NUM_RECORDINGS
    if num_frames is not None:
        cost = 2 * _SHARE * tokenizer.preparer.grid.num_frames(wanted)
        most = min(most, num_frames // cost)
    found = find_long(recordings, wanted, most=most)
    if not found.samples:
        return {}
    pairs = [(_units(tokenizer, one), _of_whole(tokenizer, one)) for one in found.samples]
    share = share_different([mine for mine, _ in pairs], [whole for _, whole in pairs])
    return {
        "long_recordings": {
            "how": _HOW + (", joined from shorter recordings" if found.is_joined else ""),
            "window_share": round(share, 4),
            "units": sum(len(mine) for mine, _ in pairs),
            "recordings": len(pairs),
            "seconds_each": round(wanted / tokenizer.sample_rate_hz, 2),
        }
    }


def find_long(
    recordings: Iterable[np.ndarray], num_samples: int, *, most: int = _NUM_RECORDINGS
) -> LongRecordings:
    """Return the first recordings of at least `num_samples`, cut there; else join shorter ones.

    At most `most` of them, which for long ones is at least one.

    >>> found = find_long([np.zeros(3), np.ones(4)], 5)
    >>> found.is_joined, [one.tolist() for one in found.samples]
    (True, [[0.0, 0.0, 0.0, 1.0, 1.0]])
    """
    long: list[np.ndarray] = []
    joined: list[np.ndarray] = []
    missing = most * num_samples
    for one in recordings:
        if len(one) >= num_samples:
            long.append(one[:num_samples])
        elif missing > 0:
            joined.append(one)
            missing -= len(one)
        if len(long) == max(1, most):
            break
    if long:
        return LongRecordings(samples=long, is_joined=False)
    row = np.concatenate([np.zeros(0, np.float32), *joined])
    count = min(most, len(row) // num_samples)
    return LongRecordings(
        samples=[row[i * num_samples : (i + 1) * num_samples] for i in range(count)], is_joined=True
    )


def read_recordings(tokenizer: AudioTokenizer, files: Sequence[Location]) -> Iterator[np.ndarray]:
    """Yield the beginnings of files, long enough for `window_figures`; bad files are left out."""
    wanted = NUM_WINDOWS * tokenizer.preparer.windowing.full_samples(tokenizer.preparer.grid)
    rate_hz, longest_s = tokenizer.sample_rate_hz, tokenizer.preparer.max_duration_s
    for path in files[:_MOST_FILES]:
        found, count = [np.zeros(0, np.float32)], 0
        try:
            with opened(recording_at(path), max_duration_s=longest_s) as recording:
                for block in resample_stream(recording.blocks, recording.sample_rate_hz, rate_hz):
                    found.append(block)
                    count += len(block)
                    if count >= wanted:
                        break
        except InputError:
            continue
        yield np.concatenate(found)


def _units(tokenizer: AudioTokenizer, samples: np.ndarray) -> np.ndarray:
    item = Audio(samples, sample_rate_hz=tokenizer.sample_rate_hz)
    codes = tokenizer.encode(list(tokenizer.preparer.prepare(item)))
    return np.concatenate(codes)[:, 0]


def _of_whole(tokenizer: AudioTokenizer, samples: np.ndarray) -> np.ndarray:
    """Units of the recording in one window, at the places that the tokenizer's own have."""
    preparer = tokenizer.preparer
    num_samples = len(samples) + 2 * preparer.pad_samples
    num_frames = preparer.grid.num_frames(num_samples)
    whole = tokenizer.with_windowing(Windowing(window_frames=num_frames, hop_frames=num_frames))
    units = _units(whole, samples)
    if not isinstance(preparer.windowing, SampleChunks):
        return units
    # Each chunk begins its frames anew; those that would span a cut are missing.
    size, stride = preparer.windowing.chunk_samples, preparer.grid.stride
    places = [
        round(start / stride) + np.arange(preparer.grid.num_frames(min(size, num_samples - start)))
        for start in range(0, num_samples, size)
    ]
    return units[np.minimum(np.concatenate(places), num_frames - 1)]
