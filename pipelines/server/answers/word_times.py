"""When each word of a transcript was said, from what the decoder looked at as it wrote it down.

    attention [words, frames] ─ one way through time ─► peaks ─ quietest between ─► cuts ─ trim ─► s

A decoder that writes a word looks at the units in which it heard it (Whisper's word times rest on
the same: Radford et al., 2022, and its `timing.py`). Here the way through time that collects most
attention gives each word its frames, and the frame at which it looked hardest; between two of these
the words part where the recording is quietest, for a causal decoder knows a word only towards its
end; quiet frames at both ends of a word belong to nobody.

Deviations from Whisper: attention is not normalised a token, and not filtered; loudness, not
attention alone, says where a word begins and ends. Knows numbers; words and recordings are others'.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

_QUIET_DB = 40.0  # below the recording's loudest frame: no quieter frame is quieter than that
_EDGE_DB = 30.0  # below the word's loudest frame: what is left out at its ends
_SMOOTHED_FRAMES = 5  # shorter than a pause, longer than the closure of a plosive is deep


def word_frames(attention: np.ndarray, levels_db: np.ndarray) -> list[tuple[int, int]]:
    """Return the half-open range of frames of each word, in order and apart.

    Args:
        attention: `[words, frames]`, at least as many frames as words.
        levels_db: how loud each frame is, `[frames]`.

    >>> levels = np.full(12, -60.0)
    >>> levels[1:3] = levels[9:11] = -10.0
    >>> attention = np.zeros((2, 12))
    >>> attention[0, 1] = attention[1, 10] = 1.0
    >>> word_frames(attention, levels)
    [(1, 3), (9, 11)]
    """
    quiet = np.maximum(levels_db, levels_db.max() - _QUIET_DB)
    around = np.pad(quiet, _SMOOTHED_FRAMES // 2, mode="edge")
    smoothed = np.convolve(around, np.full(_SMOOTHED_FRAMES, 1 / _SMOOTHED_FRAMES), "valid")
    cuts = _cuts(attention)
    peaks = [
        start + int(attention[word, start:stop].argmax())
        for word, (start, stop) in enumerate(pairwise(cuts))
    ]
    for word in range(1, len(peaks)):
        first, last = peaks[word - 1] + 1, peaks[word]
        pause = first + int(smoothed[first : last + 1].argmin())
        first = max(first, pause - _SMOOTHED_FRAMES // 2)
        last = min(last, pause + _SMOOTHED_FRAMES // 2)
        cuts[word] = first + int(quiet[first : last + 1].argmin())
    return [_trimmed(levels_db, *ends) for ends in pairwise(cuts)]


def frame_levels_db(
    blocks: Iterable[np.ndarray], num_frames: int, samples_per_frame: float
) -> np.ndarray:
    """Return the level of each frame, decibels of its mean square, `[num_frames]`.

    Args:
        blocks: mono samples `[n]`, one after another; what is missing at the end is silence.

    >>> frame_levels_db([np.array([1, -1.0]), np.array([0.1, 0.1])], 3, 2.0).round().tolist()
    [0.0, -20.0, -120.0]
    """
    energy = np.zeros(num_frames + 1)
    done = 0
    for block in blocks:
        frames = (np.arange(done, done + len(block)) / samples_per_frame).astype(np.int64)
        squares = np.square(block, dtype=np.float64)
        energy += np.bincount(frames.clip(max=num_frames), squares, minlength=num_frames + 1)
        done += len(block)
    return 10 * np.log10(np.maximum(energy[:-1] / samples_per_frame, 1e-12))


def _cuts(attention: np.ndarray) -> list[int]:
    """The boundaries `[words + 1]` that leave each word a frame and collect most attention."""
    num_words, num_frames = attention.shape
    # best[w]: of all ways in which the frame at hand is word w's.
    best = np.full(num_words, -np.inf)
    best[0] = 0.0
    is_new = np.zeros((num_frames, num_words), dtype=bool)
    for frame in range(num_frames):
        if frame:
            come = np.concatenate(([-np.inf], best[:-1]))
            is_new[frame] = come > best
            best = np.maximum(best, come)
        best = best + attention[:, frame]
    cuts, word = [num_frames], num_words - 1
    for frame in range(num_frames - 1, 0, -1):
        if is_new[frame, word]:
            cuts.append(frame)
            word -= 1
    return [*cuts, 0][::-1]


def _trimmed(levels_db: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    own = levels_db[start:stop]
    loud = np.flatnonzero(own > own.max() - _EDGE_DB)
    return start + int(loud[0]), start + int(loud[-1]) + 1
