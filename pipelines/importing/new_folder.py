"""An output folder that is written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvse.errors import ConfigError, UnreadableFileError
from pipelines.runs.storage import cannot_write


@contextmanager
def new_folder(output: Path, what: str) -> Iterator[Path]:
    """Yield a folder to write into; at the end it takes the place of `output`.

    Where something fails, nothing stays.

    Args:
        output: a directory that does not exist yet or is empty.
        what: what it will hold, for messages.

    Raises:
        ConfigError: `output` is in use.
        TrainingError: the disk is full or cannot be written.
        UnreadableFileError: a file elsewhere cannot be read.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output}: expected a new or empty directory")
    draft = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        folder = draft / "new"
        folder.mkdir()
        yield folder
        if output.exists():
            output.rmdir()
        folder.replace(output)
    except OSError as error:
        if not error.errno:  # our own errors are some of them: a file that is not there
            raise
        if draft is not None and _is_elsewhere(error.filename, draft, output):
            raise UnreadableFileError(
                f"{error.filename}: cannot be read; {error.strerror}"
            ) from error
        raise cannot_write(output, what, error) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _is_elsewhere(name: object, *ours: Path) -> bool:
    """Whether an error is of a file that was read, and not of what is being written."""
    if not isinstance(name, str | os.PathLike):
        return False
    path = Path(name).absolute()
    return not any(path.is_relative_to(own.absolute()) for own in ours)
