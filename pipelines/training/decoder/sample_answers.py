"""Sample answers while a decoder trains: the same few prompts, asked again every so often.

For people who watch: a loss says little, a wrong caption says much. Appends to `samples.jsonl`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dvse.remote.remote_path import Location
from dvse.special_tokens import ASSISTANT
from dvse.storage.shard import read_shard
from dvse.tokenizer import Tokenizer
from pipelines.answering.answerer import Answerer
from pipelines.answering.model_directory import LoadedModel
from pipelines.answering.settings import AnswerSettings


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt `int64 [n]` out of a shard, and what its row answers."""

    prompt: np.ndarray
    expected: str


class SampleAnswers(TrainerCallback):
    """Asks every `every` steps and writes what came."""

    def __init__(
        self, tokenizer: Tokenizer, samples: Sequence[Sample], path: Path, *, every: int
    ) -> None:
        self._tokenizer, self._samples, self._path, self._every = tokenizer, samples, path, every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Answer where it is time to."""
        is_due = state.global_step % self._every == 0 or state.global_step == state.max_steps
        if not (is_due and self._samples and state.is_world_process_zero):
            return
        model = kwargs["model"]
        model.eval()
        loaded = LoadedModel(
            name="in training", model=model, tokenizer=self._tokenizer, device=str(model.device)
        )
        settings = AnswerSettings(max_new_tokens=48)
        prompts = [sample.prompt for sample in self._samples]
        said = {i: answer.text for i, answer in Answerer(loaded).answer(prompts, settings)}
        model.train()
        with self._path.open("a", encoding="utf-8") as file:
            for i, sample in enumerate(self._samples):
                line = {"step": state.global_step, "expected": sample.expected, "said": said[i]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                tqdm.write(f"  {sample.expected}  →  {said[i]}")


def samples_of(shard: Location, tokenizer: Tokenizer, *, count: int) -> list[Sample]:
    """Return the first turns of `count` rows that answer without thinking.

    Rows without a loss mask are passed over: nobody asks anything there.
    """
    special = tokenizer.vocabulary.special_id
    opening = [special("<think>"), special("</think>")]
    found: list[Sample] = []
    table = read_shard(shard, columns=["ids", "loss_mask"])
    for ids, mask in zip(table["ids"], table["loss_mask"], strict=True):
        if len(found) == count:
            break
        if not mask.is_valid:
            continue
        row = np.asarray(ids.values, np.int64)
        is_answer = np.asarray(mask.values.to_numpy(zero_copy_only=False), bool)
        first = int(is_answer.argmax())
        if list(row[first - 2 : first]) == opening and special(ASSISTANT) in row[:first]:
            length = int((~is_answer[first:]).argmax()) or len(row) - first
            answer = row[first : first + length]
            text = tokenizer.text.decode(
                [int(i) for i in answer if i < tokenizer.vocabulary.text_size]
            )
            found.append(Sample(prompt=row[:first], expected=text))
    return found
