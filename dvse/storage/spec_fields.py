"""Reading the JSON description of a part strictly: unknown, missing and ill-typed fields fail."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from dvse.errors import BundleFormatError, ConfigError

T = TypeVar("T")


def read_fields(cls: type[T], description: Any, *, where: str) -> T:
    """Make the dataclass `cls` from a mapping of its fields.

    Raises:
        BundleFormatError: not a mapping, a field missing or unknown, or a value that `cls` refuses.

    >>> from dvse.audio.windows import Windowing
    >>> read_fields(Windowing, {"window_frames": 9, "hop_frames": 3}, where="audio windows")
    Windowing(window_frames=9, hop_frames=3)
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


def write_fields(config: Any, *, omit: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a config dataclass as plain JSON values.

    Args:
        omit: fields that are left out while they have their default. Fields that came after the
            first release are, so that what was written before reads the same when written again.
    """
    defaults = {field.name: field.default for field in fields(config)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
        if name not in omit or value != defaults[name]
    }
