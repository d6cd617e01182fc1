"""Which columns of an Arrow table hold media: told by type, by Hugging Face's features, by content.

Pictures and recordings lie in a table as bytes, as a struct with `bytes` or `path`, as base64 or as
names of files; alone or in lists, at the top or inside structs, and each of these in several Arrow
types (large, fixed-size, view, dictionary). A column that looks like media and cannot be used
refuses the table by name: a row without its picture would be a silent loss.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dvse.errors import InputError
from dvse.remote.address import STORES, is_address, scheme_of
from pipelines.sources.sniffing import bytes_of_base64, kind_of_bytes, kind_of_name
from pipelines.sources.table_rows import (
    CONVERSATION_COLUMNS,
    TEXT_COLUMNS,
    TableLayout,
    kind_by_name,
)

Sample = Callable[[str], list[Any]]
"""Given the name of a column: some of its values, the first that are not null among them."""

_SMALLEST_MEDIA = 64
_FILE_NAMES = ("file_name", "file_names")
_RAW_SAMPLES = ("audio", "speech", "waveform", "samples", "array", "wav")
_types = pa.types


@dataclass(frozen=True, kw_only=True)
class _Leaf:
    path: tuple[str, ...]
    type: Any
    feature: str | None
    is_struct: bool = False

    @property
    def label(self) -> str:
        return ".".join(self.path)


def table_layout(schema: pa.Schema, sample: Sample, *, is_template: bool = False) -> TableLayout:
    """Return which column is what.

    Args:
        schema: of the table.
        sample: gives values of a column.
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
    kinds: dict[str, str] = {}
    names: dict[str, str] = {}
    names_files = False
    paths: dict[str, tuple[str, ...]] = {}
    for field in schema:
        if field.name.lower() in CONVERSATION_COLUMNS:
            continue
        for leaf in _leaves(field.type, (field.name,), features.get(field.name)):
            paths[leaf.label] = leaf.path
            try:
                found = _kind(
                    leaf, [v for s in sample(field.name) for v in values_at(s, leaf.path)]
                )
            except InputError:
                if is_template:
                    continue
                raise
            if found is not None:
                (names if found.is_name else kinds)[leaf.label] = found.kind
                names_files |= found.is_elsewhere
    embedded = set(kinds.values())
    for label, kind in names.items():
        # Beside embedded bytes, the name of a file that is not there is only their name; of several
        # columns of names the first counts, and those that `datasets` takes for files.
        is_first = kind not in kinds.values()
        if is_first or (kind not in embedded and label.endswith(_FILE_NAMES)):
            kinds[label] = kind
    order = [label for label in paths if label in kinds]
    return TableLayout.of(
        schema.names,
        {label: kinds[label] for label in order},
        labels,
        paths={label: paths[label] for label in order},
        names_files=names_files,
    )


@dataclass(frozen=True)
class _Found:
    kind: str
    is_name: bool = False
    is_elsewhere: bool = False


def _kind(leaf: _Leaf, values: list[Any]) -> _Found | None:
    if leaf.is_struct:
        datas = [v.get("bytes") for v in values if isinstance(v, Mapping) and v.get("bytes")]
        names = [v.get("path") for v in values if isinstance(v, Mapping) and v.get("path")]
        sniffed = next((k for k in map(_kind_of, datas or names) if k), None)
        kind = leaf.feature or sniffed or kind_by_name(leaf.label)
        if kind is None and (datas or names):
            raise _unusable(leaf, "bytes that are no picture and no recording that is known")
        return None if kind is None else _Found(kind, is_elsewhere=bool(names and not datas))
    if _is_bytes(leaf.type):
        return _kind_of_bytes(leaf, values)
    if _is_text(leaf.type):
        return _kind_of_strings(leaf, values)
    if _is_samples(leaf):
        raise _unusable(leaf, "numbers, not the bytes of files")
    return None


def _kind_of_bytes(leaf: _Leaf, values: list[Any]) -> _Found | None:
    if _types.is_fixed_size_binary(leaf.type) and leaf.type.byte_width <= _SMALLEST_MEDIA:
        return None  # a hash, a UUID
    sniffed = next((k for k in map(kind_of_bytes, values) if k), None)
    kind = leaf.feature or sniffed or kind_by_name(leaf.path[-1])
    if kind is not None:
        return _Found(kind)
    if not values or (leaf.path[-1].lower() in TEXT_COLUMNS and all(map(_is_utf_8, values))):
        return None
    raise _unusable(leaf, "bytes that are no picture and no recording that is known")


def _kind_of_strings(leaf: _Leaf, values: list[Any]) -> _Found | None:
    if leaf.feature:
        return _Found(leaf.feature)
    texts = [v for v in values if isinstance(v, str) and v]
    for text in texts:
        if (data := bytes_of_base64(text)) is not None and (kind := kind_of_bytes(data)):
            return _Found(kind)
    kinds = {kind_of_name(text) for text in texts}
    if None in kinds or not kinds:
        return None
    (kind, *_) = (k for k in kinds if k)
    if any(is_address(text) and scheme_of(text) not in STORES for text in texts):
        raise _unusable(leaf, "addresses on the network, which are not fetched")
    return _Found(kind, is_name=True, is_elsewhere=True)


def _unusable(leaf: _Leaf, holds: str) -> InputError:
    return InputError(
        f"column {leaf.label!r} holds {holds}; leave it out of the table, or name the columns that "
        "count with --template"
    )


def _leaves(type_: Any, path: tuple[str, ...], feature: Any) -> Iterator[_Leaf]:
    """Every place of a column where media could lie."""
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if _types.is_dictionary(type_) or _types.is_run_end_encoded(type_):
        yield from _leaves(type_.value_type, path, feature)
    elif _is_list(type_):
        inner = feature[0] if isinstance(feature, list) and len(feature) == 1 else feature
        if isinstance(inner, dict) and "feature" in inner:
            inner = inner["feature"]
        if _is_number(type_.value_type) or _is_list(type_.value_type):
            yield _Leaf(path=path, type=type_, feature=None)
            if not _is_list(type_.value_type):
                return
        yield from _leaves(type_.value_type, path, inner)
    elif _types.is_map(type_):
        yield from _leaves(type_.item_type, path, None)
    elif _types.is_struct(type_):
        fields = {type_.field(i).name: type_.field(i).type for i in range(type_.num_fields)}
        kind = _feature_kind(feature)
        data = fields.get("bytes")
        if kind or (data is not None and (_is_bytes(data) or _types.is_null(data))):
            yield _Leaf(path=path, type=type_, feature=kind, is_struct=True)
            return
        for name, inner_type in fields.items():
            nested = feature.get(name) if isinstance(feature, dict) else None
            yield from _leaves(inner_type, (*path, name), nested)
    else:
        yield _Leaf(path=path, type=type_, feature=_feature_kind(feature))


def values_at(value: Any, path: tuple[str, ...]) -> list[Any]:
    """Return what lies at a path of a row's value, lists on the way laid out flat, without nulls.

    >>> values_at([{"image": b"A"}, {"image": b"B"}], ("data", "image"))
    [b'A', b'B']
    """
    found = [value]
    for name in (None, *path[1:]):
        flat: list[Any] = []
        for one in found:
            one = one.get(name) if name is not None and isinstance(one, Mapping) else one
            flat.extend(_flat(one))
        found = flat
    return [one for one in found if one is not None]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list) and not (value and isinstance(value[0], int | float)):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The Hugging Face features in the table's metadata, where there are any."""
    try:
        document = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = document["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _feature_kind(feature: Any) -> str | None:
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind.lower() if kind in ("Image", "Audio") else None


def _kind_of(value: Any) -> str | None:
    return kind_of_name(value) if isinstance(value, str) else kind_of_bytes(value)


def _is_samples(leaf: _Leaf) -> bool:
    """Whether lists of numbers are pixels or samples: by their name, and pixels by their depth."""
    if not _is_list(leaf.type):
        return False
    name, depth, inner = leaf.path[-1].lower(), 0, leaf.type
    while _is_list(inner):
        depth, inner = depth + 1, inner.value_type
    if not _is_number(inner):
        return False
    return name in _RAW_SAMPLES or (depth >= 2 and kind_by_name(name) is not None)


def _is_list(type_: Any) -> bool:
    return any(
        check(type_)
        for check in (_types.is_list, _types.is_large_list, _types.is_fixed_size_list,
                      _types.is_list_view, _types.is_large_list_view)
    )  # fmt: skip


def _is_bytes(type_: Any) -> bool:
    return any(
        check(type_)
        for check in (_types.is_binary, _types.is_large_binary, _types.is_binary_view,
                      _types.is_fixed_size_binary)
    )  # fmt: skip


def _is_text(type_: Any) -> bool:
    return any(
        check(type_) for check in (_types.is_string, _types.is_large_string, _types.is_string_view)
    )


def _is_number(type_: Any) -> bool:
    return _types.is_integer(type_) or _types.is_floating(type_)


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
