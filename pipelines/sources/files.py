"""Single media files, groups of files with one stem, and names that cannot be read at all."""

from collections.abc import Iterator

from dvse.errors import InputError, StorageError
from dvse.remote.patience import is_passing
from dvse.remote.remote_path import location, num_bytes
from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import extension, media_kind
from pipelines.sources.places import file_place
from pipelines.sources.record import ItemRef, Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.template import Template

_CAPTION_LIMIT = 1 << 20


class FileSource(Source):
    """A picture, a recording or a text file; a caption beside it travels along."""

    def contents(self, entry: Entry) -> Contents:
        """Return one input."""
        return Contents(num_inputs=1)

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the file."""
        if start:
            return
        yield Record(
            id=utf8_name(entry.name),
            source=utf8_name(entry.path),
            refs=(ItemRef(kind=entry.kind, place=file_place(entry.path)),),  # type: ignore[arg-type]
            text=read_caption(entry.caption) if entry.label is None else entry.label,
        )

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the name."""
        yield utf8_name(entry.name)


class GroupSource(Source):
    """Files of one directory and one stem as one row (`cat.jpg` + `cat.txt`)."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def contents(self, entry: Entry) -> Contents:
        """Return one input."""
        return Contents(num_inputs=1)

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
            ref = ItemRef(kind=kind, place=file_place(path))  # type: ignore[arg-type]
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

    def contents(self, entry: Entry) -> Contents:
        """Return one input."""
        return Contents(num_inputs=1)

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
        place = location(path)
        if num_bytes(place) > _CAPTION_LIMIT:
            return None
        return place.read_bytes().decode("utf-8")
    except StorageError:
        raise  # the store does not answer, which says nothing about the text
    except (OSError, ValueError) as error:
        if is_passing(error):
            raise  # it may be there on the next try
        return None
