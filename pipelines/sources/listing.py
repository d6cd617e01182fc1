"""From what a user types to entries: files, folders, globs, containers, data set addresses.

The order is the order of the command line; inside a folder, names are sorted by their bytes, so
that it depends neither on the file system nor on the language, nor on whether it is a disk or a
store. Symbolic links are followed, a circle of them is not. The job's own output is no input,
wherever it lies.
"""

# ruff: noqa: PTH122
# Paths stay strings: they come by the million, and os.path is several times faster.

import glob
import os
from collections.abc import Hashable, Iterator, Sequence, Set
from itertools import groupby

from dvse.errors import (
    ConfigError,
    InputError,
    MissingExtraError,
    MissingFileError,
    StorageError,
    UnreadableFileError,
)
from dvse.remote.address import check_address, is_address, parent_of
from dvse.remote.patience import PATIENCE
from dvse.remote.remote_path import Location, location
from dvse.storage.file_hash import file_sha256
from pipelines.sources.class_folders import labelled_kinds
from pipelines.sources.contents import Contents, LeftOut
from pipelines.sources.entry import FAILURE, UNOPENED, Entry, Stamp
from pipelines.sources.folder_manifests import described_by, files_of, folder_manifests
from pipelines.sources.folder_names import FolderNames
from pipelines.sources.hidden import is_hidden
from pipelines.sources.kinds import CONTAINERS, MEDIA, extension, media_kind
from pipelines.sources.record import Failure, utf8_name
from pipelines.sources.registry import HUB_PREFIX, SourceOptions, make_source
from pipelines.sources.saved_dataset import saved_dataset_leftovers
from pipelines.sources.sightings import Sightings
from pipelines.sources.source import Source
from pipelines.sources.tree import LocalTree, RemoteTree, Tree

_PATH_MANIFESTS = ("csv", "tsv", "kaldi")
_MANIFESTS = (*_PATH_MANIFESTS, "jsonl")


class Lister:
    """Finds entries. Opens containers only as far as counting their inputs needs.

    Args:
        options: for the sources.
        skip: a directory that is never searched: the job's own output.
        seen: takes note of what is looked at, and knows what was counted before.
    """

    def __init__(
        self,
        options: SourceOptions,
        *,
        skip: Location | None = None,
        seen: Sightings | None = None,
    ) -> None:
        self._options = options
        self._seen = seen or Sightings()
        self._local, self._remote = LocalTree(), RemoteTree()
        self._skip: str | None = None
        self._skip_identity: Hashable = None
        if skip is not None:
            tree, path = self._tree(str(skip)), str(skip)
            self._skip = tree.absolute(path) + "/"
            self._skip_identity = tree.identity(path)
        self._sources: dict[str, Source] = {}
        self._claimed: set[str] = set()
        self._labelled: frozenset[str] = frozenset()
        self._num_hidden = 0
        self._unused: set[str] = set()

    @property
    def left_out(self) -> LeftOut:
        """What was found so far and is not used."""
        return LeftOut(num_hidden=self._num_hidden, unused_fields=tuple(sorted(self._unused)))

    def entries(self, inputs: Sequence[str]) -> Iterator[Entry]:
        """Yield the entries of everything named, in order."""
        for typed in inputs:
            yield from self._typed(typed)

    def _typed(self, typed: str) -> Iterator[Entry]:
        if is_address(typed):
            typed = check_address(typed)
        elif typed.startswith(HUB_PREFIX):
            self._seen.unstamped()
            yield self._counted(Entry(kind="hub", path=typed, name=typed))
            return
        try:
            yield from self._found(typed)
        except UnreadableFileError as error:
            yield self._unopened(typed, typed, error)

    def _found(self, typed: str) -> Iterator[Entry]:
        tree = self._tree(typed)
        if (matches := tree.matches(typed)) is not None:
            self._seen.unstamped()
            if not matches:
                problem = MissingFileError(f"{utf8_name(typed)}: nothing matches")
                yield self._unopened(typed, typed, problem)
            for path in matches:
                if self._skip and tree.absolute(path).startswith(self._skip):
                    continue
                if _is_hidden_match(path, typed):
                    self._num_hidden += 1
                    continue
                # A pattern with ** already names what lies inside the directories.
                if not tree.is_folder(path):
                    yield from self._file(path, path, beside=None)
                elif "**" not in typed:
                    yield from self._whole_folder(path, path)
            return
        if tree.is_folder(typed):
            found = False
            for entry in self._whole_folder(typed, ""):
                found = True
                yield entry
            if not found:
                empty = InputError(f"{utf8_name(typed)}: the folder is empty")
                yield self._unopened(typed, typed, empty)
        else:
            yield from self._file(typed, typed, beside=None)

    def _whole_folder(self, path: str, name: str) -> Iterator[Entry]:
        if self._options.template is None:
            self._labelled = labelled_kinds(self._tree(path), path, self._skip)
        yield from self._folder(path, name, ancestors=())
        self._labelled = frozenset()

    def _folder(self, path: str, name: str, ancestors: tuple[Hashable, ...]) -> Iterator[Entry]:
        tree = self._tree(path)
        try:
            found = tree.folder(path)
        except StorageError:
            raise  # the store does not answer, which says nothing about what lies there
        except OSError as error:
            reason = error.strerror or str(error).removeprefix(f"{path}: ")
            problem = UnreadableFileError(f"{utf8_name(path)}: {reason}")
            yield self._unopened(path, name or path, problem)
            return
        identity, names = found.identity, found.names
        if identity == self._skip_identity:
            return
        if identity in ancestors:
            circle = InputError(f"{utf8_name(path)}: a link back to a directory that holds it")
            yield _failed(path, name or path, circle)
            return
        path = tree.absolute(path)
        self._seen.folder(path, found.info)
        for place, why in found.twins:
            yield self._unopened(place, _join(name, place.removeprefix(f"{path}/")), why)
        for child in [child for child in names if is_hidden(child)]:
            names.remove(child)
            self._num_hidden += f"{path}/{child}/" != self._skip
        for child in saved_dataset_leftovers(path, names):
            names.remove(child)
        if self._options.template is not None:
            yield from self._grouped(path, name, names, (*ancestors, identity))
            return
        yield from self._followed(path, name, names)
        has_texts = ".txt" in names.endings
        label = path.rpartition("/")[2]
        for child, is_folder in names.items():
            inner, shown = f"{path}/{child}", f"{name}/{child}" if name else child
            # What nearly all files of a large folder are: a picture, recording or text by itself.
            kind = MEDIA.get(child[child.rfind(".") :])
            is_captioned = has_texts and kind != "text"
            if is_folder:
                yield from self._folder(inner, shown, (*ancestors, identity))
            elif kind is None or is_captioned or inner in self._claimed:
                yield from self._file(inner, shown, beside=names)
            else:
                stamp = tree.stamp(inner)
                of_class = label if kind in self._labelled else None
                yield Entry(kind, inner, shown, 1, stamp, label=of_class)

    def _followed(self, path: str, name: str, names: FolderNames) -> Iterator[Entry]:
        """The manifests that belong to a folder; what they name and hold is taken out."""
        for child in folder_manifests(names):
            inner = f"{path}/{child}"
            kind = CONTAINERS[extension(child)]
            entry = self._counted(
                Entry(kind=kind, path=inner, name=_join(name, child), stamp=self._stamp(inner))
            )
            yield entry
            if entry.failure is None:
                self._claimed |= files_of(self._source(kind).records(entry))
            for known in (child, *described_by(child, names)):
                names.remove(known)

    def _grouped(
        self,
        path: str,
        name: str,
        names: FolderNames,
        ancestors: tuple[Hashable, ...],
    ) -> Iterator[Entry]:
        """Files of one stem become one row (only with a template)."""
        is_folder = dict(names.items())
        by_stem = sorted(is_folder, key=lambda n: (os.fsencode(_stem(n)), os.fsencode(n)))
        for stem, group in groupby(by_stem, key=_stem):
            media = []
            for child in group:
                inner, shown = f"{path}/{child}", _join(name, child)
                if is_folder[child]:
                    yield from self._folder(inner, shown, ancestors)
                elif extension(child) in CONTAINERS:
                    yield from self._file(inner, shown, beside=names)
                else:
                    media.append(inner)
            if media:
                stamps = [s for s in map(self._stamp, media) if s is not None]
                texts = [m for m in media if m.endswith(".txt")]
                yield Entry(
                    kind="group",
                    path=f"{path}/{stem}",
                    name=_join(name, stem),
                    stamp=Stamp(
                        sum(s.size for s in stamps),
                        max((s.mtime_ns for s in stamps), default=0),
                        " ".join(s.version for s in stamps if s.version),
                    ),
                    members=tuple(media),
                    caption=texts[0] if texts else None,
                )

    def _file(self, path: str, name: str, *, beside: Set[str] | None) -> Iterator[Entry]:
        tree = self._tree(path)
        absolute = tree.absolute(path) if beside is None else path
        if beside is not None and absolute in self._claimed:
            return
        ending = extension(path)
        kind = self._container(absolute, ending, is_inside=beside is not None)
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
            elif (stamp := self._stamp(absolute)) is None:
                gone = MissingFileError(f"{utf8_name(path)}: no such file")
                yield self._unopened(path, name, gone)
            else:
                entry = Entry(kind=kind, path=absolute, name=name, stamp=stamp)
                yield self._counted(entry)
            return
        if beside is None:
            for one in (absolute, _caption_of(absolute)):
                self._seen.file(one, self._stamp(one))
        try:
            kind = media_kind(path, ending)
        except InputError as error:
            missing = not tree.exists(path)
            problem = MissingFileError(f"{utf8_name(path)}: no such file") if missing else error
            yield _failed(path, name, problem)
            return
        caption = None if kind == "text" else _caption(absolute, beside, tree)
        is_labelled = beside is not None and kind in self._labelled
        yield Entry(
            kind=kind,
            path=absolute,
            name=name,
            stamp=self._stamp(absolute),
            caption=caption,
            caption_stamp=self._stamp(caption) if caption else None,
            label=parent_of(absolute).rpartition("/")[2] if is_labelled else None,
        )

    def _container(self, path: str, ending: str, *, is_inside: bool) -> str | None:
        """The kind of a container; a `.json` of a folder is one where it names other files."""
        if ending != ".json":
            return CONTAINERS.get(ending)
        from pipelines.sources.json_lines import first_object_points_to_files, holds_objects

        is_one = first_object_points_to_files(path) if is_inside else holds_objects(path)
        return "jsonl" if is_one else None

    def _counted(self, entry: Entry) -> Entry:
        try:
            contents, sha256 = PATIENCE.call(lambda: self._looked_into(entry))
        except (ConfigError, StorageError, MissingExtraError):
            raise  # the command is wrong, or the store does not answer: not the container's fault
        except Exception as error:
            # Any library may raise anything on a broken container; the job goes on without it.
            return self._unopened(entry.path, entry.name, error, stamp=entry.stamp)
        self._num_hidden += contents.num_hidden
        self._unused |= contents.unused
        found = entry._replace(
            count=contents.num_inputs,
            sha256=sha256,
            media_sha256=contents.media_sha256,
        )
        self._seen.container(found, contents)
        if contents.num_inputs == 0:
            empty = InputError(f"{utf8_name(entry.name)}: it holds no inputs")
            return _failed(entry.path, entry.name, empty, stamp=entry.stamp)
        return found

    def _looked_into(self, entry: Entry) -> tuple[Contents, str | None]:
        if (known := self._seen.of_container(entry)) is not None:
            return known, None
        is_manifest = entry.kind in _MANIFESTS
        sha256 = file_sha256(location(entry.path)) if is_manifest else None
        return self._source(entry.kind).contents(entry), sha256

    def _unopened(
        self, path: str, name: str, error: Exception, *, stamp: Stamp | None = None
    ) -> Entry:
        """A whole data set that would not open: it is tried each time, whatever its stamp."""
        self._seen.unstamped()
        return _failed(path, name, error, stamp=stamp, kind=UNOPENED)

    def _only_points(self, kind: str, path: str) -> bool:
        """Whether a manifest only names files that lie elsewhere."""
        if kind in _PATH_MANIFESTS:
            return True
        if kind != "jsonl":
            return False
        from pipelines.sources.json_lines import first_object_points_to_files

        return first_object_points_to_files(path)

    def _tree(self, path: str) -> Tree:
        return self._remote if is_address(path) else self._local

    def _stamp(self, path: str) -> Stamp | None:
        return self._tree(path).stamp(path)

    def _source(self, kind: str) -> Source:
        if kind not in self._sources:
            self._sources[kind] = make_source(kind, self._options)
        return self._sources[kind]


def _is_hidden_match(path: str, pattern: str) -> bool:
    """Whether a path is hidden in a part that its pattern does not ask for."""
    asked = pattern.split("/")
    if any(part.startswith(".") and glob.has_magic(part) for part in asked):
        return False
    return any(is_hidden(part) for part in path.split("/") if part not in (*asked, ".", ".."))


def _failed(
    path: str, name: str, error: Exception, *, stamp: Stamp | None = None, kind: str = FAILURE
) -> Entry:
    return Entry(
        kind=kind,
        path=path if path.startswith(HUB_PREFIX) else _absolute(path),
        name=name,
        stamp=stamp,
        failure=Failure.of("list", error),
    )


def _absolute(path: str) -> str:
    return path if is_address(path) else LocalTree().absolute(path)


def _caption(path: str, beside: Set[str] | None, tree: Tree) -> str | None:
    """The `.txt` of the same stem, where there is one."""
    found = _caption_of(path)
    is_there = tree.is_file(found) if beside is None else found[found.rfind("/") + 1 :] in beside
    return found if is_there else None


def _caption_of(path: str) -> str:
    start = path.rfind("/") + 1
    return path[:start] + os.path.splitext(path[start:])[0] + ".txt"


def _stem(name: str) -> str:
    ending = extension(name)
    return name[: -len(ending)] if ending else name


def _join(name: str, child: str) -> str:
    return f"{name}/{child}" if name else child
