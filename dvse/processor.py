"""The tokenizer behind transformers' usual call: `AutoProcessor.from_pretrained(bundle)`.

After `import dvse` the class is known to `AutoProcessor`; without it a bundle names a file that
`trust_remote_code=True` may load.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from transformers import BatchFeature, ProcessorMixin

from dvse.errors import ConfigError, InputError, ItemTypeError
from dvse.items import Audio, Image, Item, Special, Text
from dvse.tokenizer import Tokenizer, load

_CALL_OPTIONS = {"padding_side", "max_length", "truncation"}


class DvseProcessor(ProcessorMixin):
    """`processor(text=…, images=…, audio=…)` → `input_ids`, `attention_mask`, `modality_ids`.

    Row i holds the i-th picture (or pictures), then the i-th recording, then the i-th text.

    Attributes:
        dvse: the `dvse.Tokenizer` that does the work.

    >>> processor = DvseProcessor.from_pretrained("tiny")
    >>> features = processor(text=["hello", "good day"], padding=True, return_tensors="pt")
    >>> processor.batch_decode(features["input_ids"])
    ['hello', 'good day']
    """

    attributes: list[str] = []  # noqa: RUF012 - transformers' own name: no parts to load apart

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.dvse = tokenizer

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> Self:
        """Load a bundle by shipped name, path or Hub id; `device`, `threads`, `revision` apply."""
        options = {k: kwargs[k] for k in ("device", "threads", "revision") if k in kwargs}
        if options.get("revision") == "main":
            del options["revision"]
        return cls(load(pretrained_model_name_or_path, **options))

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write the bundle."""
        self.dvse.save(save_directory)
        if push_to_hub:
            self.dvse.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return [str(p) for p in sorted(Path(save_directory).rglob("*")) if p.is_file()]

    def __call__(  # type: ignore[override]
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: None = None,
        audio: Any = None,
        *,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        return_tensors: str | None = "pt",
        **options: Any,
    ) -> BatchFeature:
        """Tokenise texts, pictures and recordings.

        Args:
            images: a picture or a list, one (or a list) a row; whatever `dvse.Image` takes.
            text: a string or a list, one a row.
            videos: not supported.
            audio: a recording or a list, one (or a list) a row; whatever `dvse.Audio` takes.
            sampling_rate: of recordings given as arrays, Hz.
            padding: `True` or `"longest"`, `"max_length"`, or `False` (rows must be equally long).
            return_tensors: `"pt"`, `"np"`, or `None` for lists.
            **options: `padding_side`, `max_length`, `truncation`.

        Raises:
            InputError: nothing given, lists of different lengths, or an input that cannot be read.
        """
        unknown = set(options) - _CALL_OPTIONS
        if videos is not None or unknown:
            raise ConfigError(
                f"expected only text, images, audio and {sorted(_CALL_OPTIONS)}, received "
                f"{sorted(unknown) or ['videos']}"
            )
        rows = self._rows(images, text, audio, sampling_rate)
        batch = self.dvse(
            rows, padding="max_length" if padding == "max_length" else "longest", **options
        )
        if padding is False and not bool(batch.attention_mask.all()):
            raise InputError("rows have different lengths; pass padding=True")
        features = {name: batch[name] for name in batch.keys()}  # noqa: SIM118 - no mapping
        features["attention_mask"] = features["attention_mask"].long()
        if return_tensors == "pt":
            return BatchFeature(features)
        arrays = {name: tensor.numpy() for name, tensor in features.items()}
        if return_tensors == "np":
            return BatchFeature(arrays)
        return BatchFeature({name: array.tolist() for name, array in arrays.items()})

    def decode(self, ids: Any, skip_special_tokens: bool = True, **_: Any) -> str:
        """Return the text of one row; media print as `<|image_17|>…` unless specials are skipped."""
        parts = []
        for segment in self.dvse.decode(ids, render=False):
            if segment.modality == "text":
                parts.append(segment.text)
            elif not skip_special_tokens:
                parts.append(_printed(self.dvse, segment))
        return "".join(parts)

    def batch_decode(self, rows: Any, **options: Any) -> list[str]:
        """`decode` each row of `[B, T]`."""
        return [self.decode(row, **options) for row in rows]

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Sequence[Any],
        *,
        add_generation_prompt: bool = False,
        enable_thinking: bool = False,
        tokenize: bool = True,
        **options: Any,
    ) -> Any:
        """Return the features of one conversation or a list, or its text with `tokenize=False`."""
        options = {k: v for k, v in options.items() if k in _CALL_OPTIONS}
        batch = self.dvse.apply_chat_template(
            conversation,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=enable_thinking,
            **options,
        )
        if tokenize:
            return BatchFeature({name: batch[name] for name in batch.keys()})  # noqa: SIM118
        texts = self.batch_decode(
            [row[mask] for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)],
            skip_special_tokens=False,
        )
        return texts[0] if isinstance(conversation[0], Mapping) else texts

    @property
    def model_input_names(self) -> list[str]:
        """Names of the features."""
        return ["input_ids", "attention_mask", "modality_ids"]

    def __repr__(self) -> str:
        return f"DvseProcessor({self.dvse!r})"

    def _rows(self, images: Any, text: Any, audio: Any, rate: int | None) -> list[list[Item]]:
        columns: list[list[list[Item]]] = []
        if images is not None:
            columns.append([[Image(i) for i in _as_list(cell)] for cell in _as_list(images)])
        if audio is not None:
            columns.append([[Audio(a, rate) for a in _as_list(cell)] for cell in _as_list(audio)])
        if text is not None:
            columns.append([[Text(t)] for t in ([text] if isinstance(text, str) else text)])
        if not columns:
            raise ItemTypeError("expected at least one of text=, images=, audio=; received none")
        if len({len(column) for column in columns}) != 1:
            raise InputError(
                f"expected equally many rows of each, received {[len(c) for c in columns]}"
            )
        return [[item for cell in cells for item in cell] for cells in zip(*columns, strict=True)]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _printed(tokenizer: Tokenizer, segment: Any) -> str:
    if segment.modality == "special":
        return Special(segment.name).name
    codes = segment.codes if segment.modality == "image" else segment.units
    levels = codes.reshape(-1, codes.shape[-1])
    names = [
        tokenizer.name_of(int(tokenizer.vocabulary.code_ids(segment.modality, code, level=level)))
        for place in levels
        for level, code in enumerate(place)
    ]
    return f"<|begin_of_{segment.modality}|>{''.join(names)}<|end_of_{segment.modality}|>"
