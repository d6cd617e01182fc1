"""Prompts to answers: batches of like length, padded on the left, a step of the decoder a token.

    ids [n] a prompt ─ sort ─ pad ─► [B, T] ─ steps ─► ids of each answer ─ split ─► text

Greedy by default. A loop of its own and not `generate`: one generator serves batches and streams,
and closing it ends the work. Knows ids and the order of the steps; what computes one is in
`torch_steps` or `array_steps`; files, questions and what an answer is for are others' business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.graph.onnx_decoder import OnnxDecoder
from pipelines.answering.answer_steps import AnswerSteps
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.answering.model_directory import LoadedModel
from pipelines.answering.settings import AnswerSettings


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
        self._loaded, self._tokenizer = loaded, loaded.tokenizer
        self._kind = _steps_of(loaded)
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
        for (token_id,) in self._steps([prompt], settings):
            yield int(token_id)

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
        steps = self._steps(prompts, settings, score=score)
        rows = np.stack(list(steps), axis=1).tolist()
        sums: Sequence[float | None] = steps.log_probabilities() or [None] * len(prompts)
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
        self, prompts: Sequence[np.ndarray], settings: AnswerSettings, *, score: bool = False
    ) -> AnswerSteps:
        num_steps = min(settings.max_new_tokens, self.max_length - max(map(len, prompts)))
        return self._kind(
            self._loaded, self.legal, prompts, settings, num_steps=num_steps, score=score
        )


def _steps_of(loaded: LoadedModel) -> type[AnswerSteps]:
    if isinstance(loaded.model, OnnxDecoder):
        from pipelines.answering.array_steps import ArraySteps

        return ArraySteps
    from pipelines.answering.torch_steps import TorchSteps

    return TorchSteps
