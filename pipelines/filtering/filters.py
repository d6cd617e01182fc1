"""The filters by name, and the TOML file that chooses and sets them."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError
from pipelines.filtering.duplicates import ExactDuplicates, NearDuplicateText
from pipelines.filtering.extent import DurationFilter, GridFilter, LengthFilter
from pipelines.filtering.monotony import MonotonyFilter
from pipelines.filtering.row_filter import RowFilter

FILTERS: dict[str, type[RowFilter]] = {
    kind.name: kind
    for kind in (
        LengthFilter,
        DurationFilter,
        GridFilter,
        MonotonyFilter,
        ExactDuplicates,
        NearDuplicateText,
    )
}


def read_filters(path: Path) -> list[RowFilter]:
    """Return the filters of a TOML file, in its order: a table each, its keys the settings.

    Raises:
        ConfigError: no such file, no TOML, an unknown filter or key, or a setting out of range.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--filter {path}: expected a TOML file; {error}") from None
    if not tables:
        raise ConfigError(f"--filter {path}: expected a table of {', '.join(FILTERS)}, found none")
    return [_make(path, name, settings) for name, settings in tables.items()]


def _make(path: Path, name: str, settings: Any) -> RowFilter:
    if name not in FILTERS or not isinstance(settings, dict):
        raise ConfigError(
            f"--filter {path}: expected a table of {', '.join(FILTERS)}, received {name!r}"
        )
    kind: Any = FILTERS[name]
    known = [field.name for field in fields(kind) if field.init]
    if unknown := [key for key in settings if key not in known]:
        raise ConfigError(
            f"--filter {path}: [{name}] has no {unknown[0]!r}; it has {', '.join(known)}"
        )
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise ConfigError(f"--filter {path}: [{name}] {error}") from None
