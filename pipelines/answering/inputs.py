"""Whatever a caller hands to a `Captioner` → rows of `dvse` items.

A path is judged by its extension, an array by its shape, bytes and open files by their content;
what could be two things is asked back.
"""

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import InputError, ItemTypeError
from dvse.items import Audio, Image, Item, Text

_HOW = 'say which it is: dvse.Image(…), dvse.Audio(…) or dvse.Text("…")'


def is_single(inputs: Any) -> bool:
    """Whether `inputs` is one input and not several.

    >>> is_single("cat.jpg"), is_single(["cat.jpg"])
    (True, False)
    """
    return (
        isinstance(inputs, str | PathLike | Text | Image | Audio | Mapping)
        or _is_array_or_picture(inputs)
        or _is_content(inputs)
    )


def as_inputs(inputs: Any) -> list[Any]:
    """Return several inputs as a list.

    Raises:
        ItemTypeError: not one and not several.
    """
    if not isinstance(inputs, Iterable):
        raise ItemTypeError(
            "expected a file, an array, dvse.Image, dvse.Audio, dvse.Text or a list of them, "
            f"received {type(inputs).__name__}"
        )
    return list(inputs)


def as_row(value: Any) -> tuple[Item, ...]:
    """Return the items of one input; a list stands for several items in one question.

    Raises:
        InputError: a text file that cannot be read, an unknown extension.
        ItemTypeError: what could be several things, or nothing that is known.

    >>> as_row("cat.jpg")
    (Image(source='cat.jpg'),)
    >>> as_row(["seven.wav", Text("Is it odd?")])
    (Audio(source='seven.wav', sample_rate_hz=None), Text(text='Is it odd?'))
    """
    if isinstance(value, list | tuple):
        if not value:
            raise ItemTypeError("expected at least one item, received an empty list")
        return tuple(item for part in value for item in _as_items(part))
    return _as_items(value)


def _as_items(value: Any) -> tuple[Item, ...]:
    if isinstance(value, Text | Image | Audio):
        return (value,)
    if isinstance(value, str | PathLike) and not isinstance(fspath(value), bytes):
        return _of_path(str(fspath(value)))
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if _is_content(value):
        return (_of_content(value),)
    if _is_array_or_picture(value):
        return (_of_array(value),)
    raise ItemTypeError(f"received {type(value).__name__} {value!a:.40}; {_HOW}")


def _of_path(path: str) -> tuple[Item, ...]:
    from pipelines.sources.kinds import media_record
    from pipelines.sources.loading import load

    record = media_record(id=path, path=path, source=path)
    if record.failure is not None:
        hint = "" if Path(path).exists() else f"; if it is a text and not a file, {_HOW}"
        raise InputError(f"{record.failure.reason}{hint}")
    kind = record.refs[0].kind
    if kind == "text":
        return load(record)[1]
    return (Image(path) if kind == "image" else Audio(path),)


def _of_array(value: Any) -> Item:
    if not hasattr(value, "__array__") and hasattr(value, "__array_interface__"):
        return Image(value)  # a PIL picture
    picture = Image(value)
    array = np.asarray(picture.source)
    if array.ndim == 3 or (array.ndim == 2 and array.dtype == np.uint8):
        return picture
    raise ItemTypeError(
        f"received an array of shape {list(array.shape)} and dtype {array.dtype}: a picture is "
        "uint8 [H, W] or [H, W, 3], a recording needs its rate, dvse.Audio(array, sample_rate_hz)"
    )


def _of_mapping(value: Mapping[str, Any]) -> tuple[Item, ...]:
    """What `datasets` gives for a recording, or keeps of a file."""
    if value.get("array") is not None:
        return (Audio(value),)
    if value.get("bytes") is not None:
        return (_of_content(value["bytes"]),)
    if isinstance(value.get("path"), str):
        return _of_path(value["path"])
    raise ItemTypeError(f"received a mapping with {sorted(map(str, value))}; {_HOW}")


def _of_content(value: Any) -> Item:
    """Bytes, or a file that is open, by what can open them."""
    from dvse.audio.decoding import opened as opened_recording
    from dvse.image.opening import opened as opened_picture

    picture = Image(value)
    try:
        with opened_picture(picture.source):
            return picture
    except InputError as error:
        no_picture = error
    try:
        recording = Audio(value)
        with opened_recording(recording, max_duration_s=float("inf")):
            return recording
    except InputError as error:
        raise InputError(f"neither a picture nor a recording: {no_picture}; {error}") from None


def _is_content(value: Any) -> bool:
    is_file = hasattr(value, "read") and hasattr(value, "seek")
    return is_file or isinstance(value, bytes | bytearray | memoryview)


def _is_array_or_picture(value: Any) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "__array_interface__")
