"""Links inside a tar: GNU tar stores a file that it meets twice as a link to its first name."""

import posixpath
import tarfile

from dvse.errors import DecodeError
from dvse.remote.remote_path import location
from pipelines.sources.record import utf8_name
from pipelines.sources.tar_members import members_of_all

_LONGEST_CHAIN = 16


class TarLinks:
    """Finds what the links of an uncompressed tar stand for; headers are read again for the first.

    Args:
        path: path or address of the tar.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._members: dict[str, tarfile.TarInfo] | None = None

    def target(self, link: tarfile.TarInfo) -> tarfile.TarInfo:
        """Return the regular member that a hard or symbolic link stands for.

        Raises:
            DecodeError: there is none, or it is no regular file.
        """
        found = link
        for _ in range(_LONGEST_CHAIN):
            if found.isreg():
                return found
            if not (found.islnk() or found.issym()):
                break
            name = _target_name(found)
            following = self._all().get(name)
            if following is None:
                raise DecodeError(
                    f"{utf8_name(link.name)} is a link to {utf8_name(name)}, which is not in the "
                    "archive"
                )
            found = following
        raise DecodeError(f"{utf8_name(link.name)} is no regular file")

    def _all(self) -> dict[str, tarfile.TarInfo]:
        if self._members is None:
            self._members = {}
            with (
                location(self._path).open("rb") as file,
                tarfile.open(fileobj=file, mode="r:", errorlevel=1) as archive,
            ):
                try:
                    for member in members_of_all(archive):
                        self._members.setdefault(posixpath.normpath(member.name), member)
                except (DecodeError, tarfile.TarError):
                    pass  # broken further on, which is an input of its own
        return self._members


def _target_name(link: tarfile.TarInfo) -> str:
    folder = "" if link.islnk() else posixpath.dirname(link.name)
    return posixpath.normpath(posixpath.join(folder, link.linkname))
