"""The front door for words: `Captioner`, files in, captions out.

    inputs ─ as_row ─► items ─ prompt_row ─► row ─ encode ─► ids ─ Answerer ─► captions, in order

It knows the order of the steps and what becomes of errors, nothing of how each is done.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dvse.errors import ConfigError, InputError
from dvse.precision import Precision
from pipelines.answering.answerer import Answer, Answerer
from pipelines.answering.caption import Caption
from pipelines.answering.exported_model import load_exported
from pipelines.answering.incremental_text import IncrementalText
from pipelines.answering.inputs import as_inputs, as_row, is_single
from pipelines.answering.model_directory import LoadedModel, load_model
from pipelines.answering.model_folders import find_model
from pipelines.answering.prompts import encode_prompts, prompt_row
from pipelines.answering.settings import AnswerSettings
from pipelines.answering.weight_format import Quantization

if TYPE_CHECKING:
    import torch

    from dvse.encoding import Encoding
    from dvse.items import Item

Result: TypeAlias = "str | Caption | InputError"


class Captioner:
    """Describes pictures, writes down speech, and answers questions about both.

    Args:
        loaded: a decoder and its tokenizer, from `load_model`.

    Attributes:
        loaded, name, model, tokenizer: what it was made from.

    Example:
        captioner = Captioner.load("tiny")
        captioner("cat.jpg")                                  # "a photo of a cat"
        captioner(["cat.jpg", "seven.wav"])                   # a caption each, in order
        captioner("digits.wav", prompt="Add the digits.", thinking=True)
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.name, self.model, self.tokenizer = loaded.name, loaded.model, loaded.tokenizer
        self._answerer = Answerer(loaded)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str = "cpu",
        dtype: "str | torch.dtype | None" = None,
        threads: int | None = None,
        precision: Precision = "float32",
        batch_tokens: int | None = None,
        quantize: Quantization | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> "Captioner":
        """Load a model by shipped name (`tiny`), directory or Hugging Face Hub id.

        What `dvse export onnx` wrote is run by ONNX Runtime, and torch is not imported.

        The arguments and errors are those of `pipelines.answering.model_directory.load_model`.
        """
        where: dict[str, Any] = {
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "precision": precision,
            "batch_tokens": batch_tokens,
            "quantize": quantize,
        }
        folders = find_model(name, revision=revision, token=token)
        if folders.is_exported:
            return cls(load_exported(folders, **where))
        return cls(load_model(name, **where, revision=revision, token=token))

    def __call__(
        self,
        inputs: Any,
        *,
        prompt: str | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        thinking: bool = False,
        stream: bool = False,
        details: bool = False,
        on_error: Literal["return", "raise"] = "return",
        batch_size: int = 64,
    ) -> "Result | list[Result] | Iterator[str]":
        """Return a caption for one input, or a list of captions, in order, for several.

        Args:
            inputs: a path, a picture as `uint8 [H, W, 3]` or PIL image, `dvse.Image`, `dvse.Audio`
                or `dvse.Text`; or a list of these. A list inside the list is one input of several
                items: `[["left.png", "right.png"]]`.
            prompt: the question about each input; by default its modality's own, see
                `pipelines.answering.prompts.DEFAULT_QUESTIONS`.
            max_new_tokens: the most ids of an answer, its reasoning included.
            temperature: 0 takes the likeliest token; above 0 samples, with `seed`. The same
                file, seed and settings give the same sample whatever else is in the call.
            seed: of the sampling, a whole number from 0.
            thinking: let the decoder reason first. A caption's text is the answer alone; the
                reasoning is in `Caption.reasoning`.
            stream: return an iterator over pieces of the text, for one input.
            details: return `Caption`s instead of strings.
            on_error: of several inputs, what an input that cannot be captioned becomes: its
                `InputError` in the place of its caption, or raised (`"raise"`).
            batch_size: inputs that are answered together.

        Raises:
            InputError: a single input, or with `on_error="raise"` any, cannot be read or its
                prompt is longer than the decoder's context (`PromptTooLongError`).
            ConfigError: a setting outside its range.
        """
        began = time.monotonic()
        settings = AnswerSettings(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            thinking=thinking,
            batch_size=batch_size,
        )
        if on_error not in ("return", "raise"):
            raise ConfigError(f"on_error: expected 'return' or 'raise', received {on_error!r}")
        single = is_single(inputs)
        if stream and not single:
            raise ConfigError("stream=True takes one input, received several; call it for each")
        prompts = self._encode([inputs] if single else as_inputs(inputs), prompt, thinking)
        if single or on_error == "raise":
            _raise_first(prompts, named=not single)
        if stream:
            return self._stream(prompts[0], settings)
        results = self._answered(prompts, settings, details=details, began=began)
        return results[0] if single else results

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.loaded,)

    def __repr__(self) -> str:
        return f"Captioner({self.name!r}, {self.tokenizer!r})"

    def _encode(
        self, inputs: Sequence[Any], prompt: str | None, thinking: bool
    ) -> "list[Encoding | InputError]":
        """Return for each input the ids of its prompt, or the error that it cost."""
        found: list[Any] = []
        rows: list[tuple[Item, ...]] = []
        for value in inputs:
            try:
                rows.append(prompt_row(as_row(value), prompt, thinking=thinking))
                found.append(None)
            except InputError as error:
                found.append(error)
        encoded = encode_prompts(self.tokenizer, rows, max_length=self._answerer.max_length)
        return [next(encoded) if one is None else one for one in found]

    def _answered(
        self,
        prompts: "Sequence[Encoding | InputError]",
        settings: AnswerSettings,
        *,
        details: bool,
        began: float,
    ) -> list[Result]:
        """Return the caption in the place of each prompt; errors stay where they are."""
        results: list[Any] = list(prompts)
        good = [n for n, found in enumerate(prompts) if not isinstance(found, InputError)]
        ids = [prompts[n].ids for n in good]  # type: ignore[union-attr]
        for at, answer in self._answerer.answer(ids, settings, score=details):
            seconds = time.monotonic() - began
            results[good[at]] = _caption(answer, len(ids[at]), seconds) if details else answer.text
        return results

    def _stream(self, prompt: Any, settings: AnswerSettings) -> Iterator[str]:
        text = IncrementalText(self.tokenizer.text)
        legal = self._answerer.legal
        is_reasoning = settings.thinking
        for token_id in self._answerer.stream(prompt.ids, settings):
            if is_reasoning:
                is_reasoning = token_id != legal.end_think_id
            elif token_id not in legal.stop_ids and (piece := text.push(token_id)):
                yield piece
        if rest := text.finish():
            yield rest


def _caption(answer: Answer, num_prompt_ids: int, seconds: float) -> Caption:
    assert answer.log_probability is not None
    return Caption(
        text=answer.text,
        reasoning=answer.reasoning,
        token_ids=answer.token_ids,
        num_prompt_ids=num_prompt_ids,
        log_probability=answer.log_probability,
        is_complete=answer.is_complete,
        seconds=seconds,
    )


def _raise_first(prompts: "Sequence[Encoding | InputError]", *, named: bool) -> None:
    for number, found in enumerate(prompts):
        if isinstance(found, InputError):
            if named:
                found.args = (f"input {number}: {found}",)
            raise found
