"""Captioning as a step of the job: chunks → codes → prompt ids → answers → rows.

    id, source, sha256, modality, duration_s     the input
    question                                     what was asked, null where nobody asked
    text                                         the caption that stood beside the input
    caption, reasoning                           what the decoder said
    ids, num_prompt_ids, log_probability, is_complete     how it came about

Knows what a row of captions is; batches and constraints are the answerer's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dvse.chunk import Chunk, EncodedChunk
from dvse.encoding import Encoding
from dvse.errors import InputError
from dvse.items import Item, Special
from dvse.precision import Precision
from dvse.preparers import Preparers
from dvse.storage.file_hash import files_sha256
from pipelines.answering.model_folders import ModelFolders, find_model
from pipelines.answering.prompts import conversation_row, prompt_row, too_long
from pipelines.answering.settings import CaptionOptions
from pipelines.answering.weight_format import Quantization
from pipelines.sources.loading import Loaded
from pipelines.steps.step import DeviceWork, Step, StepDescription
from pipelines.steps.tokenize import TokenizeStep

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.answering.answerer import Answer
    from pipelines.answering.model_directory import LoadedModel

_METADATA_KEY = "dvse.captions"


@dataclass(frozen=True, kw_only=True)
class PromptPreparer:
    """The half of captioning that decode workers run: items → the chunks of a prompt."""

    preparers: Preparers
    question: str | None
    thinking: bool

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield the chunks of the prompt about one input.

        Raises:
            InputError: an item cannot be read or decoded.
        """
        if any(isinstance(item, Special) for item in sequence):
            row = conversation_row(sequence, thinking=self.thinking)
        else:
            row = prompt_row(sequence, self.question, thinking=self.thinking)
        yield from self.preparers.chunks(row)


@dataclass(frozen=True, kw_only=True)
class CaptionStep(Step):
    """Caption with a model.

    Attributes:
        model: shipped name, directory or Hub id.
        options: what is asked and how.
        threads: of the encoders on a CPU; by default all usable processors.
        dtype: of the decoder's weights; by default as they are stored.
        precision, batch_tokens: what the encoders compute in, and how many tokens at once.
        quantize: bits of the decoder's weights; by default as they are stored.
    """

    model: str
    options: CaptionOptions
    threads: int | None = None
    dtype: str | None = None
    precision: Precision = "float32"
    batch_tokens: int | None = None
    quantize: Quantization | None = None
    name = "caption"

    def identity(self) -> dict[str, Any]:
        """Return the fingerprints of bundle and decoder, and the options."""
        folders = find_model(self.model)
        return {
            **self._tokenize(folders).identity(),
            "step": self.name,
            "model": folders.name,
            "decoder_sha256": _decoder_sha256(folders),
            "dtype": self.dtype,
            # Left out where there is none, so that jobs of before go on.
            **({"quantize": self.quantize} if self.quantize else {}),
            **self.options.identity(),
        }

    def quick_profile(self, device: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return device kind, threads and library versions."""
        return self._tokenize(find_model(self.model)).quick_profile(device, recorded)

    def open(self, device: str) -> "CaptionWork":
        """Load the model."""
        how: dict[str, Any] = {
            "device": device,
            "dtype": self.dtype,
            "threads": self.threads,
            "precision": self.precision,
            "batch_tokens": self.batch_tokens,
            "quantize": self.quantize,
        }
        folders = find_model(self.model)
        if folders.is_exported:
            from pipelines.answering.exported_model import load_exported

            return CaptionWork(load_exported(folders, **how), self.options)
        from pipelines.answering.light_loading import load_to_answer
        from pipelines.answering.room import check_room

        num_tokens = self.options.answers.max_new_tokens
        check_room(folders.decoder, device=device, dtype=self.dtype, num_tokens=num_tokens)
        return CaptionWork(load_to_answer(self.model, **how), self.options)

    def _tokenize(self, folders: ModelFolders) -> TokenizeStep:
        return TokenizeStep(
            bundle=str(folders.bundle),
            threads=self.threads,
            precision=self.precision,
            batch_tokens=self.batch_tokens,
        )


class CaptionWork(DeviceWork):
    """A model on a device."""

    def __init__(self, loaded: "LoadedModel", options: CaptionOptions) -> None:
        from pipelines.answering.answerer import Answerer

        self._name, self._tokenizer = loaded.name, loaded.tokenizer
        self._options = options
        self._answerer = Answerer(loaded)

    def describe(self) -> StepDescription:
        """Return the columns of a caption shard, model and fingerprint."""
        tokenizer = self._tokenizer
        about = {"model": self._name, "bundle_fingerprint": tokenizer.fingerprint}
        return StepDescription(
            schema=caption_schema(),
            metadata={_METADATA_KEY: json.dumps(about | self._options.identity(), sort_keys=True)},
            profile=tokenizer.profile.to_dict(),
            preparer=PromptPreparer(
                preparers=tokenizer.preparer,
                question=self._options.question,
                thinking=self._options.answers.thinking,
            ),
        )

    def encode(self, chunks: Sequence[Chunk]) -> list[EncodedChunk]:
        """Return the codes of each chunk."""
        return self._tokenizer.encode_chunks(chunks)

    def batch_rows(self, chunk: Chunk) -> int:
        """Return the rows of the encoder's pass that the chunk will be in."""
        return self._tokenizer.batch_rows(chunk)

    def rows(
        self, inputs: Sequence[tuple[Loaded, list[EncodedChunk]]]
    ) -> list[dict[str, Any] | InputError]:
        """Return the caption of each input, or the error of a prompt that is too long."""
        limit = self._answerer.max_length
        prompts = [self._tokenizer.assemble(encoded) for _, encoded in inputs]
        found: list[Any] = [too_long(len(p), limit) if len(p) >= limit else None for p in prompts]
        good = [n for n, error in enumerate(found) if error is None]
        answers = self._answerer.answer([prompts[n].ids for n in good], self._options.answers)
        for at, answer in answers:
            n = good[at]
            found[n] = self._row(inputs[n][0], prompts[n], answer)
        return found

    def _row(self, loaded: Loaded, prompt: Encoding, answer: "Answer") -> dict[str, Any]:
        assert answer.log_probability is not None
        media = [s for s in prompt.spans if s.modality in ("image", "audio")]
        about = replace(prompt, spans=tuple(media)) if media else prompt
        return {
            "id": loaded.id,
            "source": loaded.source,
            "sha256": loaded.sha256,
            "modality": about.modality,
            "duration_s": prompt.duration_s,
            "question": self._options.question,
            "text": loaded.text,
            "caption": answer.text,
            "reasoning": answer.reasoning,
            "ids": answer.token_ids,
            "num_prompt_ids": len(prompt),
            # The last digits depend on what else was in the batch.
            "log_probability": round(answer.log_probability, 3),
            "is_complete": answer.is_complete,
        }


def caption_schema() -> "pa.Schema":
    """Return the columns of a caption shard."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string()),
            pa.field("sha256", pa.string()),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("duration_s", pa.float64()),
            pa.field("question", pa.string()),
            pa.field("text", pa.string()),
            pa.field("caption", pa.string(), nullable=False),
            pa.field("reasoning", pa.string()),
            pa.field("ids", pa.list_(pa.field("element", pa.uint32(), nullable=False))),
            pa.field("num_prompt_ids", pa.int32(), nullable=False),
            pa.field("log_probability", pa.float64(), nullable=False),
            pa.field("is_complete", pa.bool_(), nullable=False),
        ]
    )


def _decoder_sha256(folders: ModelFolders) -> str:
    """Hash of the decoder's files, adapters among them, by name and content."""
    weights = sorted(folders.decoder.glob("*.safetensors")) or folders.decoder.glob("*.onnx*")
    paths = [folders.decoder / "config.json", *sorted(weights)]
    if folders.adapters is not None:
        paths += [folders.adapters / "adapter_config.json"]
        paths += sorted(folders.adapters.glob("adapter_model*.safetensors"))
    return files_sha256(paths)
