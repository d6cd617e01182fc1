"""Places of an Arrow table where media could lie: columns, fields of structs, items of lists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_types = pa.types


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A place whose values are bytes, strings, numbers or structs of `bytes` and `path`.

    Attributes:
        path: names from the column on.
        type: of its values.
        feature: `image`, `audio` or another kind, where Hugging Face's features say so.
        is_struct: whether its values are structs of `bytes` and `path`.
    """

    path: tuple[str, ...]
    type: Any
    feature: str | None
    is_struct: bool = False

    @property
    def label(self) -> str:
        """The path as one name."""
        return ".".join(self.path)


def leaves(type_: Any, path: tuple[str, ...], feature: Any) -> Iterator[Leaf]:
    """Yield every place of a column where media could lie."""
    if isinstance(type_, pa.FixedShapeTensorType):
        tensor = pa.list_(type_.value_type)
        for _ in type_.shape[1:]:
            tensor = pa.list_(tensor)
        type_ = tensor
    elif isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if _types.is_dictionary(type_) or _types.is_run_end_encoded(type_):
        yield from leaves(type_.value_type, path, feature)
    elif is_list(type_):
        inner = feature[0] if isinstance(feature, list) and len(feature) == 1 else feature
        if isinstance(inner, dict) and "feature" in inner:
            inner = inner["feature"]
        if depth_of_numbers(type_):
            yield Leaf(path=path, type=type_, feature=None)
        else:
            yield from leaves(type_.value_type, path, inner)
    elif _types.is_union(type_):
        for i in range(type_.num_fields):
            yield from leaves(type_.field(i).type, path, None)
    elif _types.is_map(type_):
        yield from leaves(type_.item_type, path, None)
    elif _types.is_struct(type_):
        fields = {type_.field(i).name: type_.field(i).type for i in range(type_.num_fields)}
        kind = feature_kind(feature)
        data = fields.get("bytes")
        if kind or (data is not None and (is_bytes(data) or _types.is_null(data))):
            yield Leaf(path=path, type=type_, feature=kind, is_struct=True)
            return
        for name, inner_type in fields.items():
            nested = feature.get(name) if isinstance(feature, dict) else None
            yield from leaves(inner_type, (*path, name), nested)
    else:
        yield Leaf(path=path, type=type_, feature=feature_kind(feature))


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
            yield from _flat(one[1] if isinstance(one, tuple) else one)  # an item of a map
    else:
        yield value


def depth_of_numbers(type_: Any) -> int:
    """Return how deep lists of numbers are nested, 0 for what is none."""
    depth = 0
    while is_list(type_):
        depth, type_ = depth + 1, type_.value_type
    return depth if is_number(type_) else 0


def is_list(type_: Any) -> bool:
    """Whether values are lists of any layout."""
    return any(
        check(type_)
        for check in (_types.is_list, _types.is_large_list, _types.is_fixed_size_list,
                      _types.is_list_view, _types.is_large_list_view)
    )  # fmt: skip


def is_bytes(type_: Any) -> bool:
    """Whether values are bytes of any layout."""
    return any(
        check(type_)
        for check in (_types.is_binary, _types.is_large_binary, _types.is_binary_view,
                      _types.is_fixed_size_binary)
    )  # fmt: skip


def is_text(type_: Any) -> bool:
    """Whether values are strings of any layout."""
    return any(
        check(type_) for check in (_types.is_string, _types.is_large_string, _types.is_string_view)
    )


def is_number(type_: Any) -> bool:
    """Whether values are numbers."""
    return _types.is_integer(type_) or _types.is_floating(type_)


def feature_kind(feature: Any) -> str | None:
    """Return `image`, `audio` or what else of media a feature of Hugging Face's is, or `None`."""
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind.lower() if kind in ("Image", "Audio", "Video", "Pdf", "Nifti") else None
