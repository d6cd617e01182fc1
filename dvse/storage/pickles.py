"""Refuses files that could run code when they are opened."""

import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

from dvse.errors import UnsafeFileError

_PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}

# A text file that is a full stop is a whole pickle by the letter.
_EMPTY_OPCODES = {"STOP", "MARK", "POP", "NONE"}

_CALLING_OPCODES = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD"}


def refuse_pickles(folder: Path) -> None:
    """Look at every file of a folder, whatever it is called; run none.

    Raises:
        UnsafeFileError: a pickle, or torch's archive of one.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in _PICKLE_SUFFIXES or _is_pickle(path):
            raise UnsafeFileError(
                f"{path}: expected only safetensors, JSON and model files, received a pickle, "
                "which could run any code; convert it to safetensors"
            )


def _is_pickle(path: Path) -> bool:
    """Whether the content is a pickle or torch's archive of one, whatever the name says."""
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") for name in archive.namelist())
        file.seek(0)
        opcodes, is_whole = _opcodes(file)
    return (is_whole and not opcodes <= _EMPTY_OPCODES) or (
        "PROTO" in opcodes and bool(opcodes & _CALLING_OPCODES)
    )


def _opcodes(file: BinaryIO) -> tuple[set[str], bool]:
    """Pickle opcodes at the start of a file, and whether they reach a pickle's end.

    Runs nothing. Data of another kind has an unknown opcode within a few bytes, but a first one
    proves little: the header length of a safetensors file may look like the mark of a pickle.
    """
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(file):
            seen.add(opcode.name)
    except Exception:  # genops raises many kinds on data that is no pickle
        return seen, False
    return seen, True
