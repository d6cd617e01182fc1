"""The one message for a run whose results cannot be written."""

from pathlib import Path

from dvse.errors import TrainingError


def cannot_write(path: Path, what: str, error: Exception) -> TrainingError:
    """Return the error to raise where `what` could not be written to `path`.

    >>> str(cannot_write(Path("runs/a"), "the part", OSError(28, "No space left on device")))[:62]
    'runs/a: the part cannot be written; No space left on device. F'
    """
    return TrainingError(
        f"{path}: {what} cannot be written; {getattr(error, 'strerror', None) or error}. Free some "
        "space and run the same command again, with --resume where it has one; what was finished "
        "before is kept"
    )
