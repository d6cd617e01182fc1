"""WebDataset tars: members of one stem in a row make a sample (`x.jpg` + `x.txt`).

A sample becomes one row: pictures, then recordings, then the text, or what the template says. In
an uncompressed tar only headers are read here; decode workers read the members themselves. A
compressed one is read once, by whoever counts what is in it (`unpacked.py`).

A tar that breaks off is noticed (Python's reader takes a damaged header for the end of the
archive): the samples before the damage are inputs, and the rest is one failed input.
"""

import contextlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Literal

from dvse.errors import DecodeError, InputError, StorageError
from dvse.remote.patience import is_passing
from dvse.remote.remote_path import location, num_bytes
from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry
from pipelines.sources.hidden import is_hidden
from pipelines.sources.kinds import is_like_media, media_kind
from pipelines.sources.places import slice_place
from pipelines.sources.record import (
    Failure,
    HeldPlace,
    ItemRef,
    Place,
    Record,
    failed,
    utf8_name,
)
from pipelines.sources.source import Source
from pipelines.sources.tar_links import TarLinks
from pipelines.sources.tar_members import members_of_all
from pipelines.sources.template import Template
from pipelines.sources.unpacked import UNPACKED

# The directory and the name up to its first dot are the key, as in webdataset's base_plus_ext.
_KEY = re.compile(r"^((?:.*/|)[^./]+)[.]([^/]*)$", re.DOTALL)
_CAPTION_KEYS = ("caption", "text", "transcription", "transcript", "sentence", "label")
_SMALL = 1 << 20


@dataclass(kw_only=True)
class _Sample:
    key: str
    places: dict[str, Place] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


class TarSource(Source):
    """Samples of a tar, plain or compressed."""

    is_read_through = True

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def contents(self, entry: Entry) -> Contents:
        """Return the samples, a broken end counted as one, and how many members are left out."""
        hidden: list[str] = []
        count = sum(1 for _ in _samples(entry, read=False, hidden=hidden))
        return Contents(num_inputs=count, num_hidden=len(hidden))

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the samples from number `start` on."""
        for number, sample in enumerate(_samples(entry, read=True)):
            if number < start:
                continue
            if isinstance(sample, Failure):
                yield Record(id=_end_id(entry), source=utf8_name(entry.path), failure=sample)
            else:
                yield self._record(entry, sample)
        UNPACKED.forget(entry.path, entry.stamp)

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the keys; only headers are read."""
        for sample in _samples(entry, read=False):
            yield _end_id(entry) if isinstance(sample, Failure) else utf8_name(sample.key)

    def _record(self, entry: Entry, sample: _Sample) -> Record:
        id = utf8_name(sample.key)
        source = f"{utf8_name(entry.path)}#{id}"
        try:
            text = _caption(sample)
            refs = _refs(sample, text, self._template)
        except InputError as error:
            if is_passing(error):
                raise
            return failed(id, source, error)
        return Record(id=id, source=source, refs=refs, text=text)


def _end_id(entry: Entry) -> str:
    return f"{utf8_name(entry.name)}#end"


def _refs(sample: _Sample, text: str | None, template: Template | None) -> tuple[ItemRef, ...]:
    if not sample.places:
        raise DecodeError(f"{utf8_name(sample.key)}: the archive breaks off inside this sample")
    kinds: dict[str, list[ItemRef]] = {"image": [], "audio": [], "text": []}
    fields: dict[str, tuple[ItemRef, ...]] = {}
    unusable: InputError | None = None
    for ending, place in sample.places.items():
        try:
            kind = media_kind(f"{sample.key}.{ending}" if ending else sample.key)
        except InputError as error:
            if is_like_media(f"x.{ending}"):
                raise  # the text beside it alone would be another sample
            unusable = error
            continue
        ref = ItemRef(kind=kind, place=place)  # type: ignore[arg-type]
        kinds[kind].append(ref)
        fields[ending] = (ref,)
    if not kinds["text"] and text is not None and "cls" not in sample.places:
        kinds["text"].append(ItemRef.of_text(text))
    if template is not None:
        if text is not None:
            fields["caption"] = (ItemRef.of_text(text),)
        return template.fill({k: tuple(v) for k, v in kinds.items()} | fields)
    refs = (*kinds["image"], *kinds["audio"], *kinds["text"])
    if not refs:
        endings = ", ".join(sorted(sample.places)) or "no extension"
        raise unusable or InputError(
            f"{utf8_name(sample.key)}: expected a picture, a recording or a text in the sample, "
            f"received {endings}"
        )
    return refs


def _caption(sample: _Sample) -> str | None:
    """Text that stands beside the media: `.txt`, a field of `.json`, or the label in `.cls`."""
    for ending in ("txt", "caption", "json", "cls"):
        place = sample.places.get(ending)
        if place is None or sample.sizes[ending] > _SMALL:
            continue
        try:
            text = place.read().decode("utf-8")
            if ending == "json":
                found = json.loads(text)
                values = [found.get(k) for k in _CAPTION_KEYS] if isinstance(found, dict) else []
                text = next((v for v in values if isinstance(v, str)), "")
                if not text:
                    continue
        except (ValueError, InputError) as error:
            if is_passing(error):
                raise
            continue  # the member itself ends as an error where it is an input
        return text.strip() if ending == "cls" else text
    return None


@contextlib.contextmanager
def _opened(entry: Entry, *, is_kept: bool) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """Yield the archive, and whether it is not compressed; what is unpacked is kept if wanted."""
    with contextlib.ExitStack() as stack:
        unpacked = UNPACKED.opened(entry.path, entry.stamp)
        if unpacked is not None:
            yield stack.enter_context(_archive(stack.enter_context(unpacked), "r:")), False
            return
        file = stack.enter_context(location(entry.path).open("rb"))
        found = None
        if is_kept:
            # What is not compressed, or does not begin as it should, is opened again below, where
            # all formats are tried and the same faults come again.
            with contextlib.suppress(Exception), contextlib.ExitStack() as trying:
                keeping = UNPACKED.keeping(entry.path, entry.stamp, file)
                found = trying.enter_context(_archive(trying.enter_context(keeping), "r:"))
                stack.push(trying.pop_all())
        if found is None:
            file.seek(0)
            found = stack.enter_context(_archive(file, "r:*"))
        yield found, found.fileobj is file


def _archive(file: IO[bytes], mode: Literal["r:", "r:*"]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode=mode, errorlevel=1)


def _samples(
    entry: Entry, *, read: bool, hidden: list[str] | None = None
) -> Iterator[_Sample | Failure]:
    """Yield samples in order, then a failure if the archive does not end as one should."""
    sample: _Sample | None = None
    path = entry.path
    try:
        with _opened(entry, is_kept=hidden is not None) as (archive, plain):
            links = TarLinks(path)
            size = num_bytes(location(path)) if plain else 0
            for member in members_of_all(archive):
                if member.isdir():
                    continue
                if is_hidden(member.name):
                    if hidden is not None:
                        hidden.append(member.name)
                    continue
                is_stored = plain and member.isreg() and not member.issparse()
                if is_stored and member.offset_data + member.size > size:
                    raise DecodeError(f"it is cut short inside {utf8_name(member.name)}")
                match = _KEY.match(member.name)
                key, ending = match.groups() if match else (member.name, "")
                ending = ending.lower()
                if sample is None or sample.key != key or ending in sample.places:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key=key)
                sample.places[ending] = _place(
                    archive, member, path, links if plain else None, read=read
                )
                sample.sizes[ending] = member.size
    except StorageError:
        raise  # the store does not answer: the archive is not broken
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if is_passing(error):
            raise  # the archive is not broken
        if sample is not None:
            yield sample
            sample = None
        reason = DecodeError(
            f"{utf8_name(path)}: the archive is broken, what follows in it is lost; {error}"
        )
        yield Failure.of("list", reason)
    except Exception as error:  # zlib.error and lzma.LZMAError share no base with the above
        if sample is not None:
            yield sample
            sample = None
        reason = DecodeError(f"{utf8_name(path)}: the compressed archive is broken; {error}")
        yield Failure.of("list", reason)
    if sample is not None:
        yield sample


def _place(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    links: TarLinks | None,
    *,
    read: bool,
) -> Place:
    """Where the bytes of a member are; `links` of an uncompressed tar."""
    if not read:
        return HeldPlace(b"")
    if not member.isreg():
        return _linked_place(member, path, links)
    if links is not None and not member.issparse():
        return slice_place(path, member.offset_data, member.size, member.name)
    file: IO[bytes] | None = archive.extractfile(member)
    return HeldPlace(b"" if file is None else file.read(), member=member.name)


def _linked_place(member: tarfile.TarInfo, path: str, links: TarLinks | None) -> Place:
    try:
        if links is None:
            raise DecodeError(
                f"{utf8_name(member.name)} is a link or a device inside a compressed archive; "
                "pack it with --hard-dereference --dereference"
            )
        target = links.target(member)
    except DecodeError as error:
        return _NoPlace(str(error))
    if target.issparse():
        return _NoPlace(f"{utf8_name(member.name)} is a link to a sparse file; unpack the archive")
    return slice_place(path, target.offset_data, target.size, member.name)


@dataclass(frozen=True, slots=True)
class _NoPlace(Place):
    """A member that holds no bytes, and why."""

    reason: str

    @property
    def path(self) -> str | None:
        """None: there is no file."""
        return None

    def read(self) -> bytes:
        """Say why there are none."""
        raise DecodeError(self.reason)
