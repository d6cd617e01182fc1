"""The tokenizer behind transformers' usual call: `AutoProcessor.from_pretrained(bundle)`.

After `import dvse` the class is known to `AutoProcessor`; without it a bundle names a file that
`trust_remote_code=True` may load.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from transformers import BatchFeature, ProcessorMixin

from dvse.batch import PaddingSide, TokenBatch
from dvse.chat import render
from dvse.errors import ConfigError, IdRangeError, InputError, ItemTypeError
from dvse.items import Audio, Image, Item, Text
from dvse.pretrained_tokenizer import DvseTokenizer
from dvse.storage.bundle import save_for_transformers
from dvse.tokenizer import Tokenizer, load

_LOAD_OPTIONS = ("device", "threads", "revision", "token")
_CALL_OPTIONS = {"max_length", "truncation"}
_CHAT_OPTIONS = {*_CALL_OPTIONS, "padding_side"}
_UNKNOWN_TO_CHATS = ("tools", "documents", "chat_template")


class DvseProcessor(ProcessorMixin):
    """`processor(text=…, images=…, audio=…)` → `input_ids`, `attention_mask`, `modality_ids`.

    Row i holds the i-th picture (or pictures), then the i-th recording, then the i-th text.

    Rows are padded on the left, for a decoder goes on at the right.

    Attributes:
        dvse: the `dvse.Tokenizer` that does the work.
        tokenizer: its text part as transformers calls it.

    >>> processor = DvseProcessor.from_pretrained("tiny")
    >>> features = processor(text=["hello", "good day"], padding=True, return_tensors="pt")
    >>> processor.batch_decode(features["input_ids"])
    ['hello', 'good day']
    """

    attributes: list[str] = []  # noqa: RUF012 - transformers' own name: no parts to load apart

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.dvse = tokenizer

    @cached_property
    def tokenizer(self) -> DvseTokenizer:
        """The text part of the bundle, see `DvseTokenizer`."""
        return DvseTokenizer(self.dvse.text, self.dvse.vocabulary)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> Self:
        """Load a bundle by shipped name, path or Hub id.

        Of the options, those of `dvse.load` apply: `device`, `threads`, `revision`, `token`.
        """
        options = {name: kwargs[name] for name in _LOAD_OPTIONS if name in kwargs}
        return cls(load(pretrained_model_name_or_path, **options))

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write the bundle; beside a training checkpoint it goes into a `bundle/` of its own.

        Returns:
            The files written.
        """
        folder = Path(save_directory)
        files = save_for_transformers(self.dvse.save, None, folder)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return list(files)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:  # type: ignore[override]
        """Upload the bundle, see `dvse.Tokenizer.push_to_hub`."""
        return self.dvse.push_to_hub(repo_id, **options)

    def __call__(  # type: ignore[override]
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: None = None,
        audio: Any = None,
        *,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        padding_side: PaddingSide = "left",
        return_tensors: str | None = "pt",
        **options: Any,
    ) -> BatchFeature:
        """Tokenise texts, pictures and recordings.

        Args:
            images: a picture or a list, one (or a list) a row; whatever `dvse.Image` takes.
            text: a list of strings, one a row; a string alone makes one row of all that is given.
            videos: not supported.
            audio: a recording or a list, one (or a list) a row; whatever `dvse.Audio` takes.
            sampling_rate: of recordings given as arrays, Hz.
            padding: `True` or `"longest"`, `"max_length"`, or `False` (rows must be equally long).
            padding_side: `"left"` or `"right"`.
            return_tensors: `"pt"`, `"np"`, or `None` for lists.
            **options: `max_length`, `truncation`.

        Raises:
            InputError: nothing given, lists of different lengths, or an input that cannot be read.
        """
        unknown = set(options) - _CALL_OPTIONS
        if videos is not None or unknown:
            raise ConfigError(
                f"expected only text, images, audio and {sorted(_CALL_OPTIONS)}, received "
                f"{sorted(unknown) or ['videos']}"
            )
        batch = self.dvse(
            _rows(images, text, audio, sampling_rate),
            padding="max_length" if padding == "max_length" else "longest",
            padding_side=padding_side,
            **options,
        )
        if padding is False and not bool(batch.attention_mask.all()):
            raise InputError("rows have different lengths; pass padding=True")
        return _features(batch, return_tensors)

    def decode(self, ids: Any, skip_special_tokens: bool = True, **options: Any) -> str:
        """Return the text of one row; media print as `<|image_17|>…` unless they are skipped."""
        text = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, **options)
        if not isinstance(text, str):
            raise IdRangeError("expected one row of ids [T], received several; call batch_decode")
        return text

    def batch_decode(self, rows: Any, **options: Any) -> list[str]:
        """`decode` each row of `[B, T]`."""
        return [self.decode(row, **options) for row in rows]

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Sequence[Any],
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        enable_thinking: bool = False,
        tokenize: bool = True,
        return_dict: bool = True,
        return_tensors: str | None = "pt",
        processor_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Return the features of one conversation or a list, see `dvse.chat.render`.

        Args:
            conversation: messages.
            add_generation_prompt, continue_final_message, enable_thinking: see `dvse.chat.render`.
            tokenize: `False` returns the text.
            return_dict: `False` returns the ids alone.
            return_tensors: as for a call.
            processor_kwargs, **options: `padding_side`, `max_length`, `truncation`, `padding`.

        Raises:
            ConfigError: tools, documents or another template, which this format does not know.
            InputError: messages of another form.
        """
        options = {**options, **(processor_kwargs or {})}
        for name in _UNKNOWN_TO_CHATS:
            if options.pop(name, None) is not None:
                raise ConfigError(f"{name}: expected none; the chat format does not know it")
        if options.pop("padding", True) == "max_length":
            options["padding"] = "max_length"
        unknown = set(options) - _CHAT_OPTIONS - {"padding"}
        if unknown:
            raise ConfigError(
                f"expected {sorted(_CHAT_OPTIONS)}, received {sorted(unknown)}; a pipeline takes "
                "settings of the generation as generate_kwargs={…}"
            )
        single = not conversation or isinstance(conversation[0], Mapping)
        rows = [
            render(
                messages,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                enable_thinking=enable_thinking,
            ).items
            for messages in ([conversation] if single else conversation)
        ]
        batch = self.dvse(rows, **{"padding_side": "left", **options})
        if tokenize:
            features = _features(batch, return_tensors)
            return features if return_dict else features["input_ids"]
        texts = self.batch_decode(
            [row[mask] for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)],
            skip_special_tokens=False,
        )
        return texts[0] if single else texts

    @property
    def model_input_names(self) -> list[str]:
        """Names of the features."""
        return ["input_ids", "attention_mask", "modality_ids"]

    def __repr__(self) -> str:
        return f"DvseProcessor({self.dvse!r})"


def _rows(images: Any, text: Any, audio: Any, sampling_rate: int | None) -> list[list[Item]]:
    columns: dict[str, list[list[Item]]] = {}
    if isinstance(text, str):  # one row, whatever stands beside it
        images, audio = (v if v is None else [v] for v in (images, audio))
    if images is not None:
        images = list(images) if getattr(images, "ndim", 0) == 4 else images  # a batch [B, …]
        columns["images"] = [[Image(i) for i in _as_list(cell)] for cell in _as_list(images)]
    if audio is not None:
        columns["audio"] = [
            [Audio(a, sampling_rate) for a in _as_list(cell)] for cell in _as_list(audio)
        ]
    if text is not None:
        columns["text"] = [[Text(t)] for t in _as_list(text)]
    if not columns:
        raise ItemTypeError("expected at least one of text=, images=, audio=; received none")
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) != 1:
        raise InputError(
            f"expected as many rows of each, received {counts}; put what belongs to one row into a "
            "list of its own, such as images=[[first, second]]"
        )
    return [
        [item for cell in cells for item in cell] for cells in zip(*columns.values(), strict=True)
    ]


def _features(batch: TokenBatch, return_tensors: str | None) -> BatchFeature:
    features: dict[str, Any] = dict(**batch)
    features["attention_mask"] = batch.attention_mask.long()
    if return_tensors == "pt":
        return BatchFeature(features)
    arrays = {name: tensor.numpy() for name, tensor in features.items()}
    if return_tensors == "np":
        return BatchFeature(arrays)
    if return_tensors is None:
        return BatchFeature({name: array.tolist() for name, array in arrays.items()})
    raise ConfigError(f"expected return_tensors 'pt', 'np' or None, received {return_tensors!r}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
