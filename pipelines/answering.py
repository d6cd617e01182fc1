"""Prompts to answers: batches of like length, padded on the left, through `generate`.

    ids [n] a prompt ─ sort ─ pad ─► [B, T] ─ generate ─► ids of each answer ─ split ─► text

Greedy by default. Knows ids, the decoder and the constraint on legal tokens; files, questions and
what an answer is for are others' business.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from dvse.errors import ConfigError
from pipelines.legal_tokens import LegalAnswer, LegalTokens
from pipelines.log_probability import LogProbability
from pipelines.model_directory import LoadedModel
from pipelines.seeded_sampling import SeededSampling


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """How answers are made.

    Attributes:
        max_new_tokens: the most ids of an answer, its reasoning included.
        temperature: 0 takes the likeliest token; above 0 samples.
        seed: of the sampling.
        thinking: let the decoder reason before it answers.
        batch_size: prompts that are answered together.

    Raises:
        ConfigError: a setting outside its range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    thinking: bool = False
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name, value in (
            ("max_new_tokens", self.max_new_tokens),
            ("batch_size", self.batch_size),
        ):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}: expected a whole number from 1, received {value!r}")
        if not isinstance(self.temperature, int | float) or not 0 <= self.temperature <= 100:
            raise ConfigError(
                f"temperature: expected a number from 0 to 100, received {self.temperature!r}"
            )
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: expected a whole number from 0, received {self.seed!r}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a decoder said to one prompt.

    Attributes:
        token_ids: all ids it produced, special tokens and the stop included.
        text: the answer.
        reasoning: what stood between `<think>` and `</think>`; `None` without thinking.
        log_probability: natural logarithm, of all `token_ids` together.
        is_complete: it ended by itself; otherwise `max_new_tokens` or the context cut it off.
    """

    token_ids: tuple[int, ...]
    text: str
    reasoning: str | None
    log_probability: float
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
        self.legal = LegalTokens(loaded.tokenizer.vocabulary, loaded.model.config.vocab_size)

    def answer(
        self, prompts: Sequence[np.ndarray], settings: AnswerSettings
    ) -> Iterator[tuple[int, Answer]]:
        """Yield (number of the prompt, its answer) a batch at a time, short prompts first.

        Args:
            prompts: `int64 [n]` each, shorter than `max_length`.
            settings: how.
        """
        for batch in self._batches([len(prompt) for prompt in prompts], settings):
            yield from zip(batch, self._answer([prompts[i] for i in batch], settings), strict=True)

    def stream(self, prompt: np.ndarray, settings: AnswerSettings) -> Iterator[int]:
        """Yield the ids of one answer as they are made; closing the iterator ends the work."""
        streamer = _Tokens()
        worker = threading.Thread(
            target=streamer.run,
            args=(lambda: self._generate([prompt], settings, [], streamer=streamer),),
            daemon=True,
        )
        worker.start()
        try:
            yield from streamer
        finally:
            streamer.is_cancelled = True
            worker.join()

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

    def _answer(self, prompts: Sequence[np.ndarray], settings: AnswerSettings) -> list[Answer]:
        score = LogProbability(self.legal.stop_ids)
        sequences, length = self._generate(prompts, settings, [score])
        sums = score.finish(sequences)
        rows = sequences[:, length:].tolist()
        return [self._read(row, total, settings) for row, total in zip(rows, sums, strict=True)]

    def _read(self, row: list[int], total: float, settings: AnswerSettings) -> Answer:
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

    def _generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: AnswerSettings,
        watchers: list[LogitsProcessor],
        **options: Any,
    ) -> tuple[torch.Tensor, int]:
        """Return `int64 [B, T + new]`, prompts padded on the left, and T."""
        length = max(map(len, prompts))
        pad_id = self._tokenizer.pad_id
        ids = torch.full((len(prompts), length), pad_id)
        mask = torch.zeros((len(prompts), length), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = torch.from_numpy(prompt)
            mask[row, length - len(prompt) :] = 1
        processors: list[LogitsProcessor] = [
            LegalAnswer(self.legal, prompt_length=length, thinking=settings.thinking),
            *watchers,
        ]
        if settings.temperature:
            processors.append(SeededSampling(temperature=settings.temperature, seed=settings.seed))
        with torch.inference_mode():
            sequences = self._model.generate(  # type: ignore[operator]
                ids.to(self._device),
                attention_mask=mask.to(self._device),
                generation_config=GenerationConfig(
                    max_new_tokens=min(settings.max_new_tokens, self.max_length - length),
                    do_sample=False,
                    eos_token_id=self.legal.stop_ids,
                    pad_token_id=pad_id,
                ),
                logits_processor=LogitsProcessorList(processors),
                **options,
            )
        return sequences, length


class _Cancelled(Exception):  # noqa: N818  # no error: nobody wants the rest
    """Ends `generate` from within."""


class _Tokens(BaseStreamer):
    """Hands the ids of one row from the thread of `generate` to whoever iterates."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self._is_prompt = True
        self.is_cancelled = False

    def run(self, work: Any) -> None:
        """Do the work, and pass on how it ended."""
        try:
            work()
        except _Cancelled:
            return
        except BaseException as error:
            self._queue.put(error)
        else:
            self._queue.put(None)

    def put(self, value: torch.Tensor) -> None:
        """Take what `generate` has: first the prompt, then an id at a time."""
        if self.is_cancelled:
            raise _Cancelled
        if self._is_prompt:
            self._is_prompt = False
            return
        self._queue.put(int(value.reshape(-1)[-1]))

    def end(self) -> None:
        """Nothing to do: `run` says when it is over."""

    def __iter__(self) -> Iterator[int]:
        while (token := self._queue.get()) is not None:
            if isinstance(token, BaseException):
                raise token
            yield token
