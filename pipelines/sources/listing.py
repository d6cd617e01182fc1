"""From what a user types to entries: files, folders, globs, containers, data set addresses.

The order is the order of the command line; inside a folder, names are sorted by their bytes, so
that it depends neither on the file system nor on the language. Symbolic links are followed, a
circle of them is not. The job's own output is no input, wherever it lies.
"""

# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH116, PTH119, PTH122, PTH207
# Paths stay strings: they come by the million, and os.path is several times faster.

import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from dvse.errors import ConfigError, InputError, MissingFileError, UnreadableFileError
from dvse.storage.file_hash import file_sha256
from pipelines.sources.entry import FAILURE, UNOPENED, Entry, Stamp
from pipelines.sources.folder_manifests import described_by, files_of, folder_manifests
from pipelines.sources.kinds import CONTAINERS, extension, media_kind
from pipelines.sources.patience import PATIENCE
from pipelines.sources.record import Failure, utf8_name
from pipelines.sources.registry import HUB_PREFIX, SourceOptions, make_source
from pipelines.sources.saved_dataset import saved_dataset_leftovers
from pipelines.sources.source import Source

_PATH_MANIFESTS = ("csv", "tsv", "kaldi")
_MANIFESTS = (*_PATH_MANIFESTS, "jsonl")


class Lister:
    """Finds entries. Opens containers only as far as counting their inputs needs."""

    def __init__(self, options: SourceOptions, *, skip: os.PathLike[str] | None = None) -> None:
        self._options = options
        self._skip = None if skip is None else os.path.abspath(skip) + os.sep
        self._skip_identity = _identity(self._skip) if self._skip else None
        self._sources: dict[str, Source] = {}
        self._claimed: set[str] = set()

    def entries(self, inputs: Sequence[str]) -> Iterator[Entry]:
        """Yield the entries of everything named, in order."""
        for typed in inputs:
            yield from self._typed(typed)

    def _typed(self, typed: str) -> Iterator[Entry]:
        if typed.startswith(HUB_PREFIX):
            yield self._counted(Entry(kind="hub", path=typed, name=typed))
            return
        if not os.path.lexists(typed) and glob.has_magic(typed):
            matches = sorted(
                glob.iglob(typed, recursive=True, include_hidden=True), key=os.fsencode
            )
            if not matches:
                problem = MissingFileError(f"{utf8_name(typed)}: nothing matches")
                yield _failed(typed, typed, problem, kind=UNOPENED)
            for path in matches:
                if self._skip and os.path.abspath(path).startswith(self._skip):
                    continue
                # A pattern with ** already names what lies inside the directories.
                if not os.path.isdir(path):
                    yield from self._file(path, path, beside=None)
                elif "**" not in typed:
                    yield from self._folder(path, path, ancestors=())
            return
        if _is_folder(typed):
            found = False
            for entry in self._folder(typed, "", ancestors=()):
                found = True
                yield entry
            if not found:
                empty = InputError(f"{utf8_name(typed)}: the folder is empty")
                yield _failed(typed, typed, empty, kind=UNOPENED)
        else:
            yield from self._file(typed, typed, beside=None)

    def _folder(
        self, path: str, name: str, ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[Entry]:
        try:
            info, is_folder = PATIENCE.call(lambda: _children(path))
        except OSError as error:
            problem = UnreadableFileError(f"{utf8_name(path)}: {error.strerror}")
            yield _failed(path, name or path, problem, kind=UNOPENED)
            return
        identity = (info.st_dev, info.st_ino)
        if identity == self._skip_identity:
            return
        if identity in ancestors:
            circle = InputError(f"{utf8_name(path)}: a link back to a directory that holds it")
            yield _failed(path, name or path, circle)
            return
        path = os.path.abspath(path)
        for child in saved_dataset_leftovers(path, is_folder.keys()):
            del is_folder[child]
        if self._options.template is not None:
            yield from self._grouped(path, name, is_folder, (*ancestors, identity))
            return
        yield from self._followed(path, name, is_folder)
        for child in sorted(is_folder, key=os.fsencode):
            inner, shown = f"{path}/{child}", _join(name, child)
            if is_folder[child]:
                yield from self._folder(inner, shown, (*ancestors, identity))
            else:
                yield from self._file(inner, shown, beside=is_folder.keys())

    def _followed(self, path: str, name: str, is_folder: dict[str, bool]) -> Iterator[Entry]:
        """The manifests that belong to a folder; what they name and hold is taken out."""
        for child in folder_manifests(is_folder.keys()):
            inner = f"{path}/{child}"
            kind = CONTAINERS[extension(child)]
            entry = self._counted(
                Entry(kind=kind, path=inner, name=_join(name, child), stamp=Stamp.of(inner))
            )
            yield entry
            if entry.failure is None:
                self._claimed |= files_of(self._source(kind).records(entry))
            for known in (child, *described_by(child, is_folder.keys())):
                del is_folder[known]

    def _grouped(
        self,
        path: str,
        name: str,
        is_folder: Mapping[str, bool],
        ancestors: tuple[tuple[int, int], ...],
    ) -> Iterator[Entry]:
        """Files of one stem become one row (only with a template)."""
        by_stem = sorted(is_folder, key=lambda n: (os.fsencode(_stem(n)), os.fsencode(n)))
        for stem, group in groupby(by_stem, key=_stem):
            media = []
            for child in group:
                inner, shown = f"{path}/{child}", _join(name, child)
                if is_folder[child]:
                    yield from self._folder(inner, shown, ancestors)
                elif extension(child) in CONTAINERS:
                    yield from self._file(inner, shown, beside=is_folder.keys())
                else:
                    media.append(inner)
            if media:
                stamps = [s for s in map(Stamp.of, media) if s is not None]
                texts = [m for m in media if m.endswith(".txt")]
                yield Entry(
                    kind="group",
                    path=f"{path}/{stem}",
                    name=_join(name, stem),
                    stamp=Stamp(
                        sum(s.size for s in stamps), max((s.mtime_ns for s in stamps), default=0)
                    ),
                    members=tuple(media),
                    caption=texts[0] if texts else None,
                )

    def _file(self, path: str, name: str, *, beside: Set[str] | None) -> Iterator[Entry]:
        absolute = os.path.abspath(path) if beside is None else path
        if beside is not None and absolute in self._claimed:
            return
        ending = extension(path)
        kind = CONTAINERS.get(ending)
        if kind is not None:
            if beside is not None and self._only_points(kind, absolute):
                yield _failed(
                    path,
                    name,
                    InputError(
                        f"{utf8_name(name)}: a manifest in a folder is not followed, since the "
                        "folder's files are found already; name it as an input itself to use it"
                    ),
                )
            elif not os.path.exists(path):
                gone = MissingFileError(f"{utf8_name(path)}: no such file")
                yield _failed(path, name, gone, kind=UNOPENED)
            else:
                entry = Entry(kind=kind, path=absolute, name=name, stamp=Stamp.of(absolute))
                yield self._counted(entry)
            return
        try:
            kind = media_kind(path, ending)
        except InputError as error:
            missing = not os.path.lexists(path)
            problem = MissingFileError(f"{utf8_name(path)}: no such file") if missing else error
            yield _failed(path, name, problem)
            return
        caption = None if kind == "text" else _caption(absolute, beside)
        yield Entry(
            kind=kind,
            path=absolute,
            name=name,
            stamp=Stamp.of(absolute),
            caption=caption,
            caption_stamp=Stamp.of(caption) if caption else None,
        )

    def _counted(self, entry: Entry) -> Entry:
        try:
            count, sha256 = PATIENCE.call(lambda: self._count(entry))
        except ConfigError:
            raise  # the command is wrong, not the container
        except Exception as error:
            # Any library may raise anything on a broken container; the job goes on without it.
            return _failed(entry.path, entry.name, error, stamp=entry.stamp, kind=UNOPENED)
        if count == 0:
            empty = InputError(f"{utf8_name(entry.name)}: it holds no inputs")
            return _failed(entry.path, entry.name, empty, stamp=entry.stamp)
        return replace(entry, count=count, sha256=sha256)

    def _count(self, entry: Entry) -> tuple[int | None, str | None]:
        is_manifest = entry.kind in _MANIFESTS
        sha256 = file_sha256(Path(entry.path)) if is_manifest else None
        return self._source(entry.kind).count(entry), sha256

    def _only_points(self, kind: str, path: str) -> bool:
        """Whether a manifest only names files that lie elsewhere."""
        if kind in _PATH_MANIFESTS:
            return True
        if kind != "jsonl":
            return False
        from pipelines.sources.json_lines import first_line_points_to_files

        return first_line_points_to_files(path)

    def _source(self, kind: str) -> Source:
        if kind not in self._sources:
            self._sources[kind] = make_source(kind, self._options)
        return self._sources[kind]


def _children(path: str) -> tuple[os.stat_result, dict[str, bool]]:
    """What is known of a folder, and the names in it with whether each is a folder."""
    with os.scandir(path) as found:
        # Whether it is one comes with the name: no look at each file is needed.
        return os.stat(path), {child.name: child.is_dir() for child in found}


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(PATIENCE.call(lambda: os.stat(path)).st_mode)
    except (OSError, ValueError):
        return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _failed(
    path: str, name: str, error: Exception, *, stamp: Stamp | None = None, kind: str = FAILURE
) -> Entry:
    return Entry(
        kind=kind,
        path=path if path.startswith(HUB_PREFIX) else os.path.abspath(path),
        name=name,
        stamp=stamp,
        failure=Failure.of("list", error),
    )


def _caption(path: str, beside: Set[str] | None) -> str | None:
    """The `.txt` of the same stem, where there is one."""
    candidate = os.path.splitext(path)[0] + ".txt"
    if beside is not None:
        return candidate if os.path.basename(candidate) in beside else None
    return candidate if os.path.isfile(candidate) else None


def _stem(name: str) -> str:
    ending = extension(name)
    return name[: -len(ending)] if ending else name


def _join(name: str, child: str) -> str:
    return f"{name}/{child}" if name else child
