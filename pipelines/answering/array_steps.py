"""Steps of an exported decoder: arrays of NumPy from end to end, no torch.

The rules are those of `torch_steps`: legal tokens, whole characters, greedy or sampled by a seed.
Sampling draws from NumPy's generator, so a seed gives another sample here than there.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.answering.answer_steps import AnswerSteps
from pipelines.answering.legal_tokens import LegalTokens, Phase

if TYPE_CHECKING:
    from model.graph.onnx_decoder import OnnxDecoder
    from pipelines.answering.model_directory import LoadedModel
    from pipelines.answering.settings import AnswerSettings


class ArraySteps(AnswerSteps):
    """A batch of answers through ONNX Runtime."""

    def __init__(
        self,
        loaded: "LoadedModel",
        legal: LegalTokens,
        prompts: Sequence[np.ndarray],
        settings: "AnswerSettings",
        *,
        num_steps: int,
        score: bool,
    ) -> None:
        self._decoder: OnnxDecoder = loaded.model  # type: ignore[assignment]
        self._legal, self._settings, self._num_steps = legal, settings, num_steps
        self._pad_id = loaded.tokenizer.vocabulary.pad_id
        self._noise = np.random.default_rng(settings.seed)
        self._ids, self._mask = _padded(prompts, self._pad_id)
        self._cache = self._decoder.empty_cache(len(prompts))
        self._made = np.zeros((len(prompts), 0), np.int64)
        self._sums = np.zeros(len(prompts)) if score else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the next id of each row."""
        is_open = np.ones(len(self._made), bool)
        for step in range(self._num_steps):
            scores = self._scores()
            token_ids = np.where(is_open, self._drawn(scores).argmax(-1), self._pad_id)
            if self._sums is not None:
                self._sums += np.where(is_open, _log_probability(scores, token_ids), 0.0)
            self._made = np.concatenate([self._made, token_ids[:, None]], axis=1)
            yield token_ids
            is_open = is_open & ~np.isin(token_ids, self._legal.stop_ids)
            if step + 1 == self._num_steps or not is_open.any():
                return
            self._ids = token_ids[:, None]
            one = np.ones((len(self._ids), 1), np.int64)
            self._mask = np.concatenate([self._mask, one], axis=1)

    def log_probabilities(self) -> list[float] | None:
        """Return the sum of each row."""
        return None if self._sums is None else self._sums.tolist()

    def _scores(self) -> np.ndarray:
        """Run what is to be fed; minus infinity stands on what may not come next."""
        positions = (self._mask.cumsum(axis=1) - 1).clip(0)[:, -self._ids.shape[1] :]
        scores, self._cache = self._decoder.step(self._ids, self._mask, positions, self._cache)
        legal = self._legal.table[self._phases()]
        legal = legal & self._legal.utf8.table[self._legal.utf8.states_of(self._made)]
        return np.where(legal, scores, -np.inf)

    def _phases(self) -> np.ndarray:
        num_rows, length = self._made.shape
        if not self._settings.thinking:
            return np.full(num_rows, Phase.ANSWER if length else Phase.FIRST)
        if not length:
            return np.full(num_rows, Phase.OPENING)
        is_end = self._made == self._legal.end_think_id
        phases = np.where(is_end.any(axis=1), Phase.ANSWER, Phase.REASONING)
        return np.where(is_end[:, -1], Phase.FIRST, phases)

    def _drawn(self, scores: np.ndarray) -> np.ndarray:
        """Return scores whose argmax is the sample (Gumbel-max; one noise vector for all rows)."""
        if not self._settings.temperature:
            return scores
        gumbel = self._noise.gumbel(size=scores.shape[-1])
        return scores / self._settings.temperature + gumbel


def _padded(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask `int64 [B, T]`, padded on the left."""
    length = max(map(len, prompts))
    ids = np.full((len(prompts), length), pad_id, np.int64)
    mask = np.zeros((len(prompts), length), np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = 1
    return ids, mask


def _log_probability(scores: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
    """Return the natural logarithm of the softmax at one id of each row, `[B]`."""
    largest = scores.max(axis=-1)
    total = np.log(np.exp(scores - largest[:, None]).sum(axis=-1, dtype=np.float64))
    return scores[np.arange(len(scores)), token_ids] - largest - total
