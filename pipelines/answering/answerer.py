"""Prompts to answers: batches of like length, padded on the left, a step of the decoder a token.

    ids [n] a prompt ─ sort ─ pad ─► [B, T] ─ steps ─► ids of each answer ─ split ─► text

Greedy by default. A loop of its own and not `generate`: one generator serves batches and streams,
and closing it ends the work. Knows ids, the decoder and the constraint on legal tokens; files,
questions and what an answer is for are others' business.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from pipelines.answering.legal_tokens import LegalAnswer, LegalTokens
from pipelines.answering.log_probability import LogProbability
from pipelines.answering.model_directory import LoadedModel
from pipelines.answering.seeded_sampling import SeededSampling
from pipelines.answering.settings import AnswerSettings

if TYPE_CHECKING:
    from model import DvseForCausalLM
    from model.plain.decoder import PlainDecoder

# Made ids `[B, n]` and scores `[B, vocab_size]` to scores; transformers' `generate` takes them too.
_Processor: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a decoder said to one prompt.

    Attributes:
        token_ids: all ids it produced, special tokens and the stop included.
        text: the answer.
        reasoning: what stood between `<think>` and `</think>`; `None` without thinking.
        log_probability: natural logarithm, of all `token_ids` together; `None` where not asked for.
        is_complete: it ended by itself; otherwise `max_new_tokens` or the context cut it off.
    """

    token_ids: tuple[int, ...]
    text: str
    reasoning: str | None
    log_probability: float | None
    is_complete: bool


class Answerer:
    """Answers prompts with a loaded model.

    Args:
        loaded: decoder and tokenizer.

    Attributes:
        max_length: positions that the decoder has, prompt and answer together.
        legal: which tokens an answer may have.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self._device = loaded.device
        self.max_length: int = loaded.model.config.max_position_embeddings
        self.legal = LegalTokens.of(loaded.tokenizer, loaded.model.config.vocab_size)

    def answer(
        self, prompts: Sequence[np.ndarray], settings: AnswerSettings, *, score: bool = True
    ) -> Iterator[tuple[int, Answer]]:
        """Yield (number of the prompt, its answer) a batch at a time, short prompts first.

        Args:
            prompts: `int64 [n]` each, shorter than `max_length`.
            settings: how.
            score: add up log-probabilities, a pass over all logits more at each step.
        """
        for batch in self._batches([len(prompt) for prompt in prompts], settings):
            answers = self._answer([prompts[i] for i in batch], settings, score)
            yield from zip(batch, answers, strict=True)

    def stream(self, prompt: np.ndarray, settings: AnswerSettings) -> Iterator[int]:
        """Yield the ids of one answer as they are made; closing the iterator ends the work."""
        for token_ids in self._steps([prompt], settings):
            yield int(token_ids)

    def split(self, token_ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the text ids of the reasoning and of the answer."""
        ids = [i for i in token_ids if i not in self.legal.stop_ids and i != self.legal.think_id]
        if token_ids and token_ids[0] == self.legal.think_id:
            end = ids.index(self.legal.end_think_id) if self.legal.end_think_id in ids else len(ids)
            return ids[:end], ids[end + 1 :]
        return [], ids

    def _batches(self, lengths: Sequence[int], settings: AnswerSettings) -> Iterator[list[int]]:
        """Cut the prompts, sorted by length, into batches.

        A long prompt leaves less room for answers; it never shares a batch with shorter ones that
        have more, so neighbours cannot shorten an answer.
        """
        batch: list[int] = []
        for number in sorted(range(len(lengths)), key=lengths.__getitem__):
            length = lengths[number]
            is_cramped = length + settings.max_new_tokens > self.max_length
            if batch and (
                len(batch) == settings.batch_size or (is_cramped and length > lengths[batch[0]])
            ):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _answer(
        self, prompts: Sequence[np.ndarray], settings: AnswerSettings, score: bool
    ) -> list[Answer]:
        watchers = [LogProbability(self.legal.stop_ids)] if score else []
        steps = list(self._steps(prompts, settings, watchers))
        made = torch.stack(steps, dim=1)
        sums = watchers[0].finish(made) if watchers else [None] * len(prompts)
        rows = made.tolist()
        return [self._read(row, total, settings) for row, total in zip(rows, sums, strict=True)]

    def _read(self, row: list[int], total: float | None, settings: AnswerSettings) -> Answer:
        end = next((n for n, i in enumerate(row) if i in self.legal.stop_ids), None)
        token_ids = tuple(row if end is None else row[: end + 1])
        reasoning, text = self.split(token_ids)
        decode = self._tokenizer.text.decode
        return Answer(
            token_ids=token_ids,
            text=decode(text) if text else "",
            reasoning=decode(reasoning) if settings.thinking else None,
            log_probability=total,
            is_complete=end is not None,
        )

    def _steps(
        self,
        prompts: Sequence[np.ndarray],
        settings: AnswerSettings,
        watchers: Sequence[_Processor] = (),
    ) -> Iterator[torch.Tensor]:
        """Yield the next id of each row, `int64 [B]`, until all rows have ended.

        A row that has ended is filled up with padding.
        """
        processors: list[_Processor] = [
            LegalAnswer(self.legal, thinking=settings.thinking),
            *watchers,
        ]
        if settings.temperature:
            processors.append(SeededSampling(temperature=settings.temperature, seed=settings.seed))
        stops = torch.tensor(self.legal.stop_ids, device=self._device)
        pad_id = self._tokenizer.vocabulary.pad_id
        pass_ = _Pass.of_prompts(self._model, prompts, pad_id, self._device)
        made = torch.zeros(len(prompts), 0, dtype=torch.int64, device=self._device)
        is_open = torch.ones(len(prompts), dtype=torch.bool, device=self._device)
        num_steps = min(settings.max_new_tokens, self.max_length - max(map(len, prompts)))
        for step in range(num_steps):
            token_ids = self._choose(pass_, made, processors)
            token_ids = torch.where(is_open, token_ids, pad_id)
            yield token_ids
            is_open = is_open & ~torch.isin(token_ids, stops)
            if step + 1 == num_steps or not is_open.any():
                return
            made = torch.cat([made, token_ids[:, None]], dim=1)
            pass_.extend(token_ids)

    @torch.inference_mode()
    def _choose(
        self, pass_: "_Pass", made: torch.Tensor, processors: Sequence[_Processor]
    ) -> torch.Tensor:
        scores = pass_.logits().float()
        for processor in processors:
            scores = processor(made, scores)
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
        model: "DvseForCausalLM | PlainDecoder",
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
        model: "DvseForCausalLM | PlainDecoder",
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
