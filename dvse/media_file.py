"""A picture or recording by its path: its name for messages, and opening it, regular files only."""

import os
import stat
from typing import BinaryIO

from dvse.errors import InputError, MissingFileError, UnreadableFileError


def printable(path: str | bytes) -> str:
    r"""Return a path as text that any terminal and log can hold.

    >>> printable("a\nb\udcff.jpg")
    'a\\nb\\xff.jpg'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def open_media_file(path: str | bytes, *, expected: str, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; the caller closes it.

    Args:
        path: as text or as the bytes that the system has.
        expected: what it should be, for the message: "a picture file".
        buffering: as `open` has it.

    Raises:
        MissingFileError: no such file.
        UnreadableFileError: a folder, a device, no permission, a name that cannot be.
    """
    name = printable(path)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (bytes paths have no pathlib form)
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise UnreadableFileError(f"{name}: expected {expected}, it is {kind}")
        return open(path, "rb", buffering=buffering)  # type: ignore[return-value]  # noqa: PTH123
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{name}: no such file") from error
    except PermissionError as error:
        raise UnreadableFileError(f"{name}: no permission to read it") from error
    except (OSError, ValueError) as error:  # too long a name, a NUL in it, a failing disk
        raise UnreadableFileError(f"{name}: cannot be opened; {error}") from error
