"""The tokenizer behind transformers' usual call: `AutoProcessor.from_pretrained(bundle)`.

After `import dvse` the class is known to `AutoProcessor`; without it a bundle names a file that
`trust_remote_code=True` may load.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from transformers import BatchFeature, ProcessorMixin

from dvse.batch import TokenBatch
from dvse.encoding import AudioSegment, ImageSegment, Segment, SpecialSegment, TextSegment
from dvse.errors import ConfigError, InputError, ItemTypeError
from dvse.items import Audio, Image, Item, Text
from dvse.storage.bundle import write_processor_files
from dvse.tokenizer import Tokenizer, load

_LOAD_OPTIONS = ("device", "threads", "revision", "token")
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
        is_checkpoint = (folder / "config.json").is_file() and not (folder / "dvse.json").is_file()
        target = folder / "bundle" if is_checkpoint else folder
        self.dvse.save(target)
        if target != folder:
            write_processor_files(folder)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return [str(path) for path in sorted(target.rglob("*")) if path.is_file()]

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
        batch = self.dvse(
            _rows(images, text, audio, sampling_rate),
            padding="max_length" if padding == "max_length" else "longest",
            **options,
        )
        if padding is False and not bool(batch.attention_mask.all()):
            raise InputError("rows have different lengths; pass padding=True")
        return _features(batch, return_tensors)

    def decode(self, ids: Any, skip_special_tokens: bool = True, **_: Any) -> str:
        """Return the text of one row; media print as `<|image_17|>…` unless they are skipped."""
        parts = []
        for segment in self.dvse.decode(ids, render=False):
            if isinstance(segment, TextSegment) or not skip_special_tokens:
                parts.append(self._printed(segment))
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
        return_tensors: str | None = "pt",
        **options: Any,
    ) -> Any:
        """Return the features of one conversation or a list, or its text with `tokenize=False`.

        Options that are about loading or returning, and that other processors know, are ignored.
        """
        options = {k: v for k, v in options.items() if k in _CALL_OPTIONS}
        batch = self.dvse.apply_chat_template(
            conversation,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=enable_thinking,
            **options,
        )
        if tokenize:
            return _features(batch, return_tensors)
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

    def _printed(self, segment: Segment) -> str:
        match segment:
            case TextSegment():
                return segment.text
            case SpecialSegment():
                return segment.name
            case ImageSegment():
                codes = segment.codes.reshape(-1, segment.codes.shape[-1])
            case AudioSegment():
                codes = segment.units
        vocabulary, modality = self.dvse.vocabulary, segment.modality
        names = [
            vocabulary.name_of(int(vocabulary.code_ids(modality, code, level=level)))
            for place in codes
            for level, code in enumerate(place)
        ]
        return f"<|begin_of_{modality}|>{''.join(names)}<|end_of_{modality}|>"


def _rows(images: Any, text: Any, audio: Any, sampling_rate: int | None) -> list[list[Item]]:
    columns: dict[str, list[list[Item]]] = {}
    if images is not None:
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
