"""The files of weights in a directory of transformers: there, whole, and told apart by their heads.

Asked before transformers loads them, whose errors name neither the file nor what is wrong with it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from dvse.errors import BundleNotFoundError, UnsafeFileError, WeightsFormatError

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")


def check_weight_files(folder: Path) -> None:
    """Look at the files that transformers would load; no weight is read.

    Raises:
        BundleNotFoundError: there are none, or one that an index names is missing.
        WeightsFormatError: damaged, of another kind, or an index that names no files.
        UnsafeFileError: an index that names a file elsewhere.
    """
    for path in _files(folder):
        if path.suffix == ".safetensors":
            _check_safetensors(path)
        else:
            with path.open("rb") as file:
                if not file.read(16).startswith(_TORCH):
                    raise WeightsFormatError(
                        f"{path}: expected a file of torch's tensors, received one that begins "
                        "otherwise; download it again"
                    )


def _files(folder: Path) -> Iterator[Path]:
    for name in _WHOLE:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            yield folder / name
        elif index.is_file():
            yield from _named_in(index)
        else:
            continue
        return
    raise BundleNotFoundError(
        f"{folder}: its weights are not there; expected {' or '.join(_WHOLE)}, or one of them in "
        "several files with an index; download it again"
    )


def _named_in(index: Path) -> Iterator[Path]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = {str(name) for name in content["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = set()
    if not names:
        raise WeightsFormatError(
            f"{index}: expected JSON with a weight_map that names files; download it again"
        )
    for name in sorted(names):
        if Path(name).name != name:
            raise UnsafeFileError(f"{index}: expected names of files beside it, received {name!r}")
        if not (index.parent / name).is_file():
            raise BundleNotFoundError(
                f"{index.parent / name}: {index.name} names it, and it is not there; download it"
            )
        yield index.parent / name


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise WeightsFormatError(
            f"{path}: expected a safetensors file, whole; {' '.join(str(error).split())[:120]}; "
            "download it again"
        ) from error
