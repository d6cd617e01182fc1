"""The one message for a run whose results cannot be written."""

import errno
from pathlib import Path

from dvse.errors import TrainingError

_OF_THE_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST),
    *(errno.EISDIR, errno.ENAMETOOLONG),
}


def cannot_write(path: Path, what: str, error: Exception) -> TrainingError:
    """Return the error to raise where `what` could not be written to `path`.

    >>> str(cannot_write(Path("runs/a"), "the part", OSError(28, "No space left on device")))[:62]
    'runs/a: the part cannot be written; No space left on device. F'
    >>> str(cannot_write(Path("/a"), "the part", OSError(13, "Permission denied")))
    '/a: the part cannot be written; Permission denied. Name a folder that can be'
    """
    cure = (
        "Free some space and run the same command again, with --resume where it has one; what was "
        "finished before is kept"
    )
    if getattr(error, "errno", None) in _OF_THE_PLACE:
        cure = "Name a folder that can be"
    reason = getattr(error, "strerror", None) or error
    return TrainingError(f"{path}: {what} cannot be written; {reason}. {cure}")
