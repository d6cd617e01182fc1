"""Which frame says which phone: the best path through a known sequence (Viterbi)."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pipelines.speech.espeak import SILENCE
from pipelines.speech.phones import DIGIT_PHONES, phone_index
from pipelines.training.audio.batches import Batch
from pipelines.training.audio.encoder import IGNORED, NO_DIGIT


def best_path(log_probs: np.ndarray, phones: Sequence[int]) -> np.ndarray:
    """Return the best path of one clip through its phones, by Viterbi search (Viterbi 1967).

    Args:
        log_probs: [T, num_phones]; phones: the pronunciation; silence may stand before and after.

    Returns:
        int64 [T]: a phone for each frame, each phone at least once (all `IGNORED` if T is less).

    >>> best_path(np.log([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]), [1, 2]).tolist()
    [1, 2]
    """
    states = np.array([0, *phones, 0])
    num_frames, num_states = len(log_probs), len(states)
    if num_frames < len(phones):
        return np.full(num_frames, IGNORED)
    emission = log_probs[:, states]
    score = np.full(num_states, -np.inf)
    score[:2] = emission[0, :2]
    came = np.zeros((num_frames, num_states), np.int64)
    for frame in range(1, num_frames):
        entered = np.concatenate([[-np.inf], score[:-1]])
        came[frame] = entered > score
        score = np.maximum(score, entered) + emission[frame]
    state = num_states - 1 if score[-1] > score[-2] else num_states - 2
    path = np.empty(num_frames, np.int64)
    for frame in range(num_frames - 1, -1, -1):
        path[frame] = states[state]
        state -= came[frame, state]
    return path


def align_phones(logits: Tensor, batch: Batch) -> Tensor:
    """Return the batch's phones `int64 [B, T]`, those of the rows to align found by `best_path`.

    Args:
        logits: `float [B, T, num_phones]` of the encoder as it is now.
    """
    log_probs = logits.detach().float().log_softmax(-1).cpu().numpy()
    phones = batch.phones.clone()
    for row in np.flatnonzero(batch.to_align):
        digits = batch.digits[row][batch.digits[row] != IGNORED].cpu().numpy()
        edges = [0, *(np.flatnonzero(np.diff(digits)) + 1), len(digits)]
        for start, stop in pairwise(edges):
            if digits[start] == NO_DIGIT:
                phones[row, start:stop] = phone_index(SILENCE)
                continue
            if (start == 0) != (stop == len(digits)):
                continue  # it may be cut off there
            spoken = [phone_index(phone) for phone in DIGIT_PHONES[digits[start]]]
            path = best_path(log_probs[row, start:stop], spoken)
            phones[row, start:stop] = torch.from_numpy(path).to(phones.device)
    return phones
