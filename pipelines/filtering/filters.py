"""The filters by name, and the TOML file that chooses and sets them."""

import tomllib
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError
from pipelines.filtering.duplicates import ExactDuplicates, NearDuplicateText
from pipelines.filtering.extent import DurationFilter, GridFilter, LengthFilter
from pipelines.filtering.filter_set import Filter, FilterSet
from pipelines.filtering.language import LanguageFilter
from pipelines.filtering.monotony import MonotonyFilter
from pipelines.filtering.near_pictures import NearDuplicatePictures
from pipelines.filtering.picture import ResolutionFilter
from pipelines.filtering.sound import LoudnessFilter, SilenceFilter
from pipelines.filtering.voice import VoiceFilter
from pipelines.settings import from_table, settings_of

FILTERS: dict[str, type[Filter]] = {
    kind.name: kind
    for kind in (
        LoudnessFilter,
        SilenceFilter,
        VoiceFilter,
        ResolutionFilter,
        LengthFilter,
        DurationFilter,
        GridFilter,
        MonotonyFilter,
        LanguageFilter,
        ExactDuplicates,
        NearDuplicateText,
        NearDuplicatePictures,
    )
}


def read_filters(path: Path) -> FilterSet:
    """Return the filters of a TOML file: a table each, its keys the settings.

    Raises:
        ConfigError: no such file, no TOML, an unknown filter or key, or a setting out of range.
        MissingExtraError: a filter's library is not installed.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--filter {path}: expected a TOML file; {error}") from None
    if not tables:
        raise ConfigError(f"--filter {path}: expected a table of {', '.join(FILTERS)}, found none")
    return FilterSet(filters=tuple(_make(path, *table) for table in tables.items()))


def tables_help() -> str:
    """Return what the tables of a file are: each filter, then each of its keys."""
    lines = []
    for name, kind in FILTERS.items():
        lines.append(f"  [{name}]  {(kind.__doc__ or '').splitlines()[0]}")
        for one in settings_of(kind):
            has_none = one.default in (MISSING, None, ())
            default = "" if has_none else f" (default: {one.default})"
            lines.append(f"    {one.name}: {one.help}{default}")
    return "\n".join(lines)


def _make(path: Path, name: str, settings: Any) -> Filter:
    if name not in FILTERS or not isinstance(settings, dict):
        raise ConfigError(
            f"--filter {path}: expected a table of {', '.join(FILTERS)}, received {name!r}"
        )
    where = f"--filter {path}"
    try:
        return from_table(FILTERS[name], settings, name=name, where=where)
    except ConfigError as error:
        if str(error).startswith(where):
            raise
        what = str(error).removeprefix(f"[{name}]: ")
        raise ConfigError(f"{where}: [{name}]: {what}") from None
