"""Which columns of an Arrow table hold media: told by type, by Hugging Face's features, by content.

Pictures and recordings lie in a table as bytes, as a struct with `bytes` or `path`, as base64 or as
names of files; alone or in lists, at the top or inside structs, and each of these in several Arrow
types (large, fixed-size, view, dictionary). A column that looks like media and cannot be used
refuses the table by name: a row without its picture would be a silent loss.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dvse.errors import InputError
from dvse.remote.address import STORES, is_address, join, name_of, scheme_of
from dvse.remote.remote_path import location
from pipelines.sources.arrow_leaves import (
    Leaf,
    depth_of_numbers,
    is_bytes,
    is_text,
    leaves,
    values_at,
)
from pipelines.sources.kinds import is_like_media
from pipelines.sources.sniffing import (
    bytes_of_base64,
    kind_by_name,
    kind_of_bytes,
    kind_of_name,
)
from pipelines.sources.table_rows import CONVERSATION_COLUMNS, TEXT_COLUMNS, TableLayout

Sample = Callable[[str], Iterable[Any]]
"""Given the name of a column: its values, which are read as far as they have to be."""

_SMALLEST_MEDIA = 64
_MOST_VALUES = 64
_FEW_VALUES = 8
_FILE_NAMES = ("file_name", "file_names")
_RAW_MEDIA = ("audio", "speech", "waveform", "samples", "array", "wav", "input_values", "image",
              "images", "img", "pixels", "pixel_values")  # fmt: skip
_NAMED_MEDIA = ("image", "images", "img", "audio", "wav")
_FILE_FIELDS = ("path", "file", "filepath", "file_path", "filename", "file_name")
_types = pa.types


def table_layout(
    schema: pa.Schema, sample: Sample, *, folder: str, is_template: bool = False
) -> TableLayout:
    """Return which column is what.

    Args:
        schema: of the table.
        sample: gives values of a column.
        folder: from which names of files count.
        is_template: whether a template names the columns: then none is refused.

    Raises:
        InputError: a column holds media that cannot be used, or there is nothing to tokenise.
    """
    features = _features(schema)
    labels = {
        name: feature.get("names") or []
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    found: dict[str, _Found] = {}
    paths: dict[str, tuple[str, ...]] = {}
    for field in schema:
        if field.name.lower() in CONVERSATION_COLUMNS:
            continue
        places = list(leaves(field.type, (field.name,), features.get(field.name)))
        for leaf, values in _sampled(places, sample, field.name):
            paths[leaf.label] = leaf.path
            try:
                kind = _kind(leaf, values, folder)
            except InputError:
                if is_template:
                    continue
                raise
            if kind is not None:
                found[leaf.label] = kind
    counted = _counted(found, folder, is_template=is_template)
    return TableLayout.of(
        schema.names,
        {label: counted[label].kind for label in paths if label in counted},
        labels,
        paths={label: paths[label] for label in paths if label in counted},
        names_files=any(kind.is_elsewhere for kind in counted.values()),
    )


def _sampled(places: list[Leaf], sample: Sample, column: str) -> Iterable[tuple[Leaf, list[Any]]]:
    """Each place with some of its values: as many as it takes to say what they are."""
    wanted = [leaf for leaf in places if leaf.is_struct or _may_hold_media(leaf.type)]
    values: list[list[Any]] = [[] for _ in wanted]
    waiting = set(range(len(wanted)))
    for row in sample(column) if wanted else ():
        for at in tuple(waiting):
            values[at] += [v for v in values_at(row, wanted[at].path) if _says_something(v)]
            if _is_enough(values[at]):
                waiting.discard(at)
        if not waiting:
            break
    return zip(wanted, values, strict=True)


def _may_hold_media(type_: Any) -> bool:
    return is_bytes(type_) or is_text(type_) or depth_of_numbers(type_) > 0


def _says_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value.get("bytes") or value.get("path"))
    return value is not None and len(value) > 0


def _is_enough(values: list[Any]) -> bool:
    if not values:
        return False
    if isinstance(values[-1], str):
        return len(values) >= _MOST_VALUES
    if isinstance(values[-1], list):
        return True
    return len(values) >= _FEW_VALUES or _kind_of_value(values[-1]) is not None


def _kind_of_value(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return _kind_of(value.get("bytes") or value.get("path"))
    return _kind_of(value)


@dataclass(frozen=True)
class _Found:
    kind: str
    name: str | None = None
    is_elsewhere: bool = False


def _counted(found: Mapping[str, _Found], folder: str, *, is_template: bool) -> dict[str, _Found]:
    """The places that are parts of a row.

    Beside embedded bytes, a name is only their name; of several columns of names the first counts,
    those that `datasets` takes for files, and those that name another file that is there. An
    address on the network says where the others came from.

    Raises:
        InputError: there are only addresses, which are not fetched.
    """
    embedded = {kind.kind for kind in found.values() if kind.name is None}
    here = {k.kind for k in found.values() if k.name is None or not _is_on_the_network(k.name)}
    counted: dict[str, _Found] = {}
    for label, kind in found.items():
        same = {name_of(k.name) for k in counted.values() if k.name and k.kind == kind.kind}
        if kind.name is None:
            is_part = True
        elif _is_on_the_network(kind.name):
            if kind.kind not in here and not is_template:
                raise _unusable(label, "addresses on the network, which are not fetched")
            is_part = False
        elif kind.kind in embedded:
            is_part = False
        elif not same or label.endswith(_FILE_NAMES):
            is_part = True
        else:
            is_part = name_of(kind.name) not in same and _is_there(kind.name, folder)
        if is_part:
            counted[label] = kind
    return counted


def _is_there(name: str, folder: str) -> bool:
    return location(join(folder, name)).is_file()


def _kind(leaf: Leaf, values: list[Any], folder: str) -> _Found | None:
    if leaf.feature not in (None, "image", "audio"):
        raise _unusable(leaf.label, f"media of the kind {leaf.feature}")
    if leaf.is_struct:
        return _kind_of_structs(leaf, values)
    if is_bytes(leaf.type):
        return _kind_of_bytes(leaf, [v for v in values if isinstance(v, bytes)])
    if is_text(leaf.type):
        return _kind_of_strings(leaf, [v for v in values if isinstance(v, str)], folder)
    if _are_media_as_numbers(leaf, values):
        raise _unusable(leaf.label, "numbers, not the bytes of files")
    return None


def _kind_of_structs(leaf: Leaf, values: list[Any]) -> _Found | None:
    datas = [v["bytes"] for v in values if v.get("bytes")]
    names = [v["path"] for v in values if v.get("path")]
    sniffed = next((k for k in map(_kind_of, datas or names) if k), None)
    kind = leaf.feature or sniffed or kind_by_name(leaf.label)
    if kind is None and (datas or names):
        raise _unusable(leaf.label, "bytes that are no picture and no recording that is known")
    return None if kind is None else _Found(kind, is_elsewhere=bool(names and not datas))


def _kind_of_bytes(leaf: Leaf, values: list[bytes]) -> _Found | None:
    if _types.is_fixed_size_binary(leaf.type) and leaf.type.byte_width <= _SMALLEST_MEDIA:
        return None  # a hash, a UUID
    sniffed = next((k for k in map(kind_of_bytes, values) if k), None)
    kind = leaf.feature or sniffed or kind_by_name(leaf.path[-1])
    if kind is not None:
        return _Found(kind)
    if not values or (leaf.path[-1].lower() in TEXT_COLUMNS and all(map(_is_utf_8, values))):
        return None
    raise _unusable(leaf.label, "bytes that are no picture and no recording that is known")


def _kind_of_strings(leaf: Leaf, texts: list[str], folder: str) -> _Found | None:
    if leaf.feature:
        return _Found(leaf.feature)
    for text in texts:
        if (data := bytes_of_base64(text)) is not None and (kind := kind_of_bytes(data)):
            return _Found(kind)
    column = leaf.path[-1].lower()
    named = [text for text in texts if is_like_media(text)]
    if column in TEXT_COLUMNS and len(named) < len(texts):
        return None
    told = kind_by_name(column)
    if told and texts and all(map(_is_on_the_network, texts)):
        return _Found(told, name=texts[0])
    if len(named) < len(texts):
        named = [text for text in named if " " not in text]
    if not named:
        return _kind_of_other_names(leaf, texts, folder)
    kinds = [kind for kind in map(kind_of_name, named) if kind]
    if not kinds:
        raise _unusable(leaf.label, f"names of media that are not read ({named[0]})")
    return _Found(kinds[0], name=named[0], is_elsewhere=True)


def _kind_of_other_names(leaf: Leaf, texts: list[str], folder: str) -> _Found | None:
    """Names without an ending that is known, in a column whose own name says that they are some."""
    column = leaf.path[-1].lower()
    told = kind_by_name(column)
    ends_so = column.endswith(tuple(f"_{field}" for field in _FILE_FIELDS))
    is_told = told is not None and (column in _NAMED_MEDIA or ends_so)
    if not texts or not (is_told or column in _FILE_FIELDS):
        return None
    name = texts[0]
    if not _is_on_the_network(name) and len(name) < 4096 and _is_there(name, folder):
        with location(join(folder, name)).open("rb") as file:
            sniffed = kind_of_bytes(file.read(16))
        if sniffed is not None:
            return _Found(sniffed, name=name, is_elsewhere=True)
    if is_told:
        raise _unusable(leaf.label, "strings that name no picture and no recording")
    return None


def _is_on_the_network(text: str) -> bool:
    return is_address(text) and scheme_of(text) not in STORES


def _are_media_as_numbers(leaf: Leaf, values: list[Any]) -> bool:
    """Whether lists of numbers are media: by name, as pixels by their depth, as bytes of a file."""
    depth, inner = depth_of_numbers(leaf.type), leaf.type
    for _ in range(depth):
        inner = inner.value_type
    column = leaf.path[-1].lower()
    if column in _RAW_MEDIA or (depth >= 2 and kind_by_name(column) is not None):
        return True
    if not _types.is_uint8(inner):
        return False
    return depth >= 2 or any(kind_of_bytes(bytes(value[:16])) for value in values)


def _unusable(label: str, holds: str) -> InputError:
    return InputError(
        f"column {label!r} holds {holds}; leave it out of the table, or name the columns that "
        "count with --template"
    )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The Hugging Face features in the table's metadata, where there are any."""
    try:
        document = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = document["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind_of(value: Any) -> str | None:
    return kind_of_name(value) if isinstance(value, str) else kind_of_bytes(value)


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
