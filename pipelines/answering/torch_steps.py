"""Steps of a decoder of torch: the full one or the plain one, on any device."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from pipelines.answering.answer_steps import AnswerSteps
from pipelines.answering.legal_answer import LegalAnswer
from pipelines.answering.log_probability import LogProbability
from pipelines.answering.seeded_sampling import SeededSampling

if TYPE_CHECKING:
    from pipelines.answering.legal_tokens import LegalTokens
    from pipelines.answering.model_directory import LoadedModel
    from pipelines.answering.settings import AnswerSettings

# Made ids `[B, n]` and scores `[B, vocab_size]` to scores; transformers' `generate` takes them too.
_Processor: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TorchSteps(AnswerSteps):
    """A batch of answers through torch."""

    def __init__(
        self,
        loaded: "LoadedModel",
        legal: "LegalTokens",
        prompts: Sequence[np.ndarray],
        settings: "AnswerSettings",
        *,
        num_steps: int,
        score: bool,
    ) -> None:
        self._device, self._num_steps = loaded.device, num_steps
        self._stop_ids, self._pad_id = legal.stop_ids, loaded.tokenizer.vocabulary.pad_id
        self._watcher = LogProbability(legal.stop_ids) if score else None
        self._processors: list[_Processor] = [LegalAnswer(legal, thinking=settings.thinking)]
        if self._watcher is not None:
            self._processors.append(self._watcher)
        if settings.temperature:
            self._processors.append(
                SeededSampling(temperature=settings.temperature, seed=settings.seed)
            )
        self._pass = _Pass.of_prompts(loaded.model, prompts, self._pad_id, self._device)
        self._made = torch.zeros(len(prompts), 0, dtype=torch.int64, device=self._device)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the next id of each row."""
        stops = torch.tensor(self._stop_ids, device=self._device)
        is_open = torch.ones(len(self._made), dtype=torch.bool, device=self._device)
        for step in range(self._num_steps):
            token_ids = torch.where(is_open, self._choose(), self._pad_id)
            self._made = torch.cat([self._made, token_ids[:, None]], dim=1)
            yield token_ids.cpu().numpy()
            is_open = is_open & ~torch.isin(token_ids, stops)
            if step + 1 == self._num_steps or not is_open.any():
                return
            self._pass.extend(token_ids)

    def log_probabilities(self) -> list[float] | None:
        """Return the sum of each row."""
        return None if self._watcher is None else self._watcher.finish(self._made)

    @torch.inference_mode()
    def _choose(self) -> torch.Tensor:
        scores = self._pass.logits().float()
        for processor in self._processors:
            scores = processor(self._made, scores)
        return scores.argmax(dim=-1)


class _Pass:
    """One batch on its way through the decoder: what is fed next, and what is cached.

    Args:
        model: the decoder.
        input_ids: `int64 [B, T]`.
        mask: `int64 [B, T]`, 0 on padding; `None` where there is none.
    """

    def __init__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> None:
        self._model, self._input_ids, self._mask = model, input_ids, mask
        self._cache: Any = None  # the model's own kind
        self._positions: torch.Tensor | None = None
        if mask is not None:
            self._positions = (mask.cumsum(dim=1) - 1).clamp_min(0)

    @classmethod
    def of_prompts(
        cls,
        model: Any,
        prompts: Sequence[np.ndarray],
        pad_id: int,
        device: str,
    ) -> "_Pass":
        """Pad prompts on the left."""
        length = max(map(len, prompts))
        ids = torch.full((len(prompts), length), pad_id)
        mask = torch.zeros((len(prompts), length), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = torch.from_numpy(prompt)
            mask[row, length - len(prompt) :] = 1
        is_padded = min(map(len, prompts)) < length
        return cls(model, ids.to(device), mask.to(device) if is_padded else None)

    def logits(self) -> torch.Tensor:
        """Run what is to be fed and return the logits `[B, vocab_size]` of the next token."""
        found = self._model(
            input_ids=self._input_ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = found.past_key_values
        return found.logits[:, -1]

    def extend(self, token_ids: torch.Tensor) -> None:
        """Feed these ids `[B]` next."""
        self._input_ids = token_ids[:, None]
        if self._mask is not None:
            assert self._positions is not None
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(token_ids), 1)], dim=1)
            self._positions = self._positions[:, -1:] + 1
