"""Which fields of a manifest's line name its media: by the field's name, and by what it holds.

A field of any name whose value is the name of a picture or a recording is one of the line's files,
for the text beside it alone would be another sample. What names the same file again is none, nor is
an address on the network in a field that does not say what it is for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from dvse.errors import InputError
from dvse.remote.address import STORES, is_address, name_of, scheme_of
from pipelines.sources.kinds import is_like_media
from pipelines.sources.sniffing import bytes_of_base64, kind_by_name

PATH_FIELDS = (
    "audio_filepath", "audio_path", "image_path", "file_path", "filepath", "path", "wav_path",
    "img_path", "wav", "image", "audio", "img", "file_name", "filename", "image_file",
    "audio_file", "file", "clip",
)  # fmt: skip


def names_media(fields: Iterable[str]) -> bool:
    """Whether one of these fields names files.

    >>> names_media(["id", "Path"]), names_media(["left_file_name"]), names_media(["text"])
    (True, True, False)
    """
    lower = [field.strip().lower() for field in fields]
    return any(field in PATH_FIELDS or _is_file_name(field) for field in lower)


def media_of(
    row: Mapping[str, Any], paths: Sequence[str], other: Set[str]
) -> list[tuple[str, list[str]]]:
    """Return the fields that name media with what they name, in the order of the line.

    Args:
        row: field, lower case → value.
        paths: fields that name a file, whatever its ending, first choice first.
        other: fields that do not, whatever they hold: texts, names of the line.

    Raises:
        InputError: a field holds media in a way that is not read.

    >>> media_of({"text": "b.png", "before": "a.png", "note": "x"}, ["path"], {"text"})
    [('before', ['a.png'])]
    """
    first = next((field for field in paths if _values(row.get(field))), None)
    if first is None or _is_file_name(first):
        named = {f: _values(v) for f, v in row.items() if _is_file_name(f) and _values(v)}
    else:
        named = {first: _values(row[first])}
    known = {name_of(file) for files in named.values() for file in files}
    for field, value in row.items():
        if field in named or field in other:
            continue
        found = [n for n in media_in(value, field) if name_of(n) not in known]
        if named and all(_is_on_the_network(name) for name in found):
            continue  # where the same may be had, too
        if found and found != _values(value):
            raise InputError(
                f"the field {field!r} names {found[0]} inside an object, which is not read; put "
                "it into a field of its own, or leave it out"
            )
        if found:
            named[field] = found
    for field in set(PATH_FIELDS) & (row.keys() - named.keys()):
        if not named and kind_by_name(field) and row[field] and isinstance(row[field], dict | list):
            raise InputError(f"the field {field!r} holds no name of a file and no bytes of one")
    return [(field, named[field]) for field in row if field in named]


def media_in(value: Any, field: str = "") -> list[str]:
    """Return the names of pictures, recordings and videos that a value holds, at any depth.

    >>> media_in({"views": ["a.png", "b.png"], "by": "me"}), media_in("a photo of b.png")
    (['a.png', 'b.png'], [])
    """
    if isinstance(value, str):
        return [value] if _is_media(value, field) else []
    if isinstance(value, Mapping):
        return [n for key, one in value.items() for n in media_in(one, str(key))]
    return [n for one in value for n in media_in(one, field)] if isinstance(value, list) else []


def _is_media(text: str, field: str) -> bool:
    tells = kind_by_name(field) is not None
    if _is_on_the_network(text):
        return tells
    is_name = is_like_media(text) and (tells or " " not in text)
    return is_name or bytes_of_base64(text) is not None


def _is_on_the_network(name: str) -> bool:
    return is_address(name) and scheme_of(name) not in STORES


def _is_file_name(field: str) -> bool:
    """Whether `datasets` takes a field of its metadata files for the name of a file."""
    return field in ("file_name", "file_names") or field.endswith(("_file_name", "_file_names"))


def _values(value: Any) -> list[str]:
    return list(_flat(value))


def _flat(value: Any) -> Iterator[str]:
    """Names in a field: one, several, or in the form of `datasets` (`path`, or else `bytes`)."""
    for one in value if isinstance(value, list) else [value]:
        name = one.get("path") or one.get("bytes") if isinstance(one, Mapping) else one
        if isinstance(name, str) and name:
            yield name
