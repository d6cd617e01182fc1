"""Single media files, groups of files with one stem, and names that cannot be read at all."""

# ruff: noqa: PTH202
# Paths stay strings: they come by the million, and os.path is several times faster.

import os
from collections.abc import Iterator
from pathlib import Path

from dvse.errors import InputError
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import extension, media_kind
from pipelines.sources.patience import is_passing
from pipelines.sources.record import FilePlace, ItemRef, Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.template import Template

_CAPTION_LIMIT = 1 << 20


class FileSource(Source):
    """A picture, a recording or a text file; a caption beside it travels along."""

    def count(self, entry: Entry) -> int:
        """Return 1."""
        return 1

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the file."""
        if start:
            return
        yield Record(
            id=utf8_name(entry.name),
            source=utf8_name(entry.path),
            refs=(ItemRef(kind=entry.kind, place=FilePlace(entry.path)),),  # type: ignore[arg-type]
            text=read_caption(entry.caption),
        )

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the name."""
        yield utf8_name(entry.name)


class GroupSource(Source):
    """Files of one directory and one stem as one row (`cat.jpg` + `cat.txt`)."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def count(self, entry: Entry) -> int:
        """Return 1."""
        return 1

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the row."""
        if start:
            return
        id, source = utf8_name(entry.name), utf8_name(entry.path)
        fields: dict[str, tuple[ItemRef, ...]] = {}
        for path in entry.members:
            try:
                kind = media_kind(path)
            except InputError:
                continue
            ref = ItemRef(kind=kind, place=FilePlace(path))  # type: ignore[arg-type]
            for name in {kind, extension(path)[1:]}:
                fields[name] = (*fields.get(name, ()), ref)
        try:
            refs = self._template.fill(fields)
        except InputError as error:
            yield failed(id, source, error)
            return
        yield Record(id=id, source=source, refs=refs, text=read_caption(entry.caption))

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the name."""
        yield utf8_name(entry.name)


class FailureSource(Source):
    """Something named that is no input: it ends in the error manifest."""

    def count(self, entry: Entry) -> int:
        """Return 1."""
        return 1

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the failure."""
        if not start:
            yield Record(
                id=utf8_name(entry.name), source=utf8_name(entry.path), failure=entry.failure
            )


def read_caption(path: str | None) -> str | None:
    """Return the text of a caption file, `None` where there is none or it is no UTF-8 text.

    The media beside it is not to blame, and the text file is an input of its own where a folder
    is read, so that nothing is lost silently.
    """
    if path is None:
        return None
    try:
        if os.path.getsize(path) > _CAPTION_LIMIT:
            return None
        return Path(path).read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        if is_passing(error):
            raise  # it may be there on the next try
        return None
