"""What other libraries hold a picture or recording in → a path, bytes, a PIL picture or an array.

Open files are read, tensors come to the CPU with their channels last, what `datasets` and
torchcodec give is taken apart. Judges by what an object can do and imports none of those libraries;
what it does not know is left as it is, for the reader that will refuse it by name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dvse.errors import ItemTypeError

_CHANNELS = (1, 3, 4)


def plain_picture(source: Any) -> Any:
    """Return a picture's path, bytes, PIL picture or array [H, W] or [H, W, C].

    Raises:
        ItemTypeError: a mapping without a picture, a tensor or file that cannot be read.

    >>> import io
    >>> plain_picture(io.BytesIO(b"GIF89a"))
    b'GIF89a'
    """
    source = _file_content(_of_mapping(source, ("bytes", "path")))
    if not _is_tensor(source):
        return source
    array = _array(source)
    is_first = array.ndim == 3 and array.shape[0] in _CHANNELS
    if is_first and array.shape[2] in _CHANNELS:  # a few pixels wide, or a few high
        is_first = array.shape[0] == 3
    return np.ascontiguousarray(array.transpose(1, 2, 0)) if is_first else array


def plain_recording(source: Any) -> tuple[Any, int | None]:
    """Return a recording's path, bytes or array [samples] or [samples, channels], and its rate.

    The rate is `None` where the source does not say it.

    Raises:
        ItemTypeError: a mapping without a recording, a tensor or file that cannot be read.

    >>> plain_recording({"array": [0.0, 0.5], "sampling_rate": 8000})
    (array([0. , 0.5]), 8000)
    """
    rate = None
    if isinstance(source, Mapping):
        rate = source.get("sampling_rate")
        source = _of_mapping(source, ("array", "bytes", "path"))
        source = np.asarray(source) if isinstance(source, list) else source
    if hasattr(source, "get_all_samples"):  # torchcodec's decoder
        source = source.get_all_samples()
    if hasattr(source, "data") and hasattr(source, "sample_rate"):  # torchcodec's samples
        source, rate = source.data, source.sample_rate
    source = _file_content(source)
    if not _is_tensor(source):
        return source, rate
    array = _array(source)
    is_first = array.ndim == 2 and array.shape[0] < array.shape[1]
    return (np.ascontiguousarray(array.T) if is_first else array), rate


def _of_mapping(source: Any, names: tuple[str, ...]) -> Any:
    if not isinstance(source, Mapping):
        return source
    found = next((source[name] for name in names if source.get(name) is not None), None)
    if found is None:
        raise ItemTypeError(
            f"expected one of {list(names)} in a mapping, received {sorted(map(str, source))}"
        )
    return found


def _file_content(source: Any) -> Any:
    """The bytes of an open file, whatever place it is at; anything else as it is."""
    if not hasattr(source, "read") or not hasattr(source, "seek"):
        return source
    try:
        source.seek(0)
        content = source.read()
    except (OSError, ValueError) as error:
        raise ItemTypeError(f"expected a file open for reading; {error}") from error
    if not isinstance(content, bytes):
        raise ItemTypeError("expected a file open in binary mode ('rb'), received one of text")
    return content


def _is_tensor(source: Any) -> bool:
    return hasattr(source, "detach") and hasattr(source, "numpy")


def _array(tensor: Any) -> np.ndarray:
    """The values of a torch tensor, wherever it is; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
