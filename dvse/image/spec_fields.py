"""Reading the JSON description of a part strictly: unknown, missing and ill-typed fields fail."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from dvse.errors import BundleFormatError, ConfigError

T = TypeVar("T")


def read_fields(cls: type[T], description: Any, *, where: str) -> T:
    """Make the dataclass `cls` from a mapping of its fields.

    Raises:
        BundleFormatError: not a mapping, a field missing or unknown, or a value that `cls` refuses.

    >>> from dvse.image.geometry import SquareGeometry
    >>> read_fields(SquareGeometry, {"size": 8, "patch_size": 4}, where="image geometry").size
    8
    """
    if not isinstance(description, Mapping):
        raise BundleFormatError(
            f"{where}: expected an object, received {type(description).__name__}"
        )
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    needed = {
        field.name
        for field in fields(cls)  # type: ignore[arg-type]
        if field.default is MISSING and field.default_factory is MISSING
    }
    if unknown := sorted(set(description) - known):
        raise BundleFormatError(
            f"{where}: unknown field {unknown[0]!r}; expected some of {sorted(known)}"
        )
    if missing := sorted(needed - set(description)):
        raise BundleFormatError(f"{where}: field {missing[0]!r} is missing")
    try:
        return cls(**description)
    except (ConfigError, TypeError, ValueError) as error:
        raise BundleFormatError(f"{where}: {error}") from error


def write_fields(config: Any) -> dict[str, Any]:
    """Return the fields of a config dataclass as plain JSON values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }


def read_kind(kinds: Mapping[str, Any], description: Any, *, where: str) -> Any:
    """Make one of several dataclasses, chosen by the field `kind`.

    Raises:
        BundleFormatError: no such kind, or a wrong field.
    """
    kind = description.get("kind") if isinstance(description, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise BundleFormatError(
            f"{where}: expected a kind among {sorted(kinds)}, received {kind!r}"
        )
    rest = {name: value for name, value in description.items() if name != "kind"}
    return read_fields(kinds[kind], rest, where=where)


def write_kind(kinds: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return what `read_kind` reads."""
    (kind,) = (name for name, cls in kinds.items() if isinstance(config, cls))
    return {"kind": kind, **write_fields(config)}
