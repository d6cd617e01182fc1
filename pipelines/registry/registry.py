"""The list of published tokenizers: `bundles.toml`, and a list of the user's own.

Reads and checks the entries; `making` turns one into a bundle.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import BundleNotFoundError, ConfigError
from dvse.storage.spec_fields import read_fields
from pipelines.registry.download import SourceFile

SHIPPED = Path(__file__).with_name("bundles.toml")
KINDS: Mapping[str, frozenset[str]] = {
    "units": frozenset({"encoder", "centroids"}),
    "image": frozenset({"weights"}),
    "codec": frozenset({"weights", "config"}),
}
"""Which files each kind needs."""

_FIELDS = {"kind", "text", "about", "licence", "home", "files", "settings"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published tokenizer.

    Attributes:
        name: by which it is loaded.
        kind: which importer takes it in.
        text: bundle or folder whose text pieces it gets.
        about, licence, home: what it is, for people.
        files: by what they are to the importer.
        settings: everything that decides units and stands in no file.
    """

    name: str
    kind: str
    text: str
    about: str
    licence: str
    home: str
    files: Mapping[str, SourceFile]
    settings: Mapping[str, Any]

    def fetch(self, cache: Path | None = None) -> dict[str, Path]:
        """Return its files by what they are, downloaded where they are not there yet.

        Raises:
            BundleError: a file is not the one it should be, or cannot be had; then the message says
                of all that are missing where to put them by hand.
        """
        folder = (cache or cache_folder()) / "files"
        found: dict[str, Path] = {}
        for role, file in self.files.items():
            try:
                found[role] = file.fetch(folder / file.place)
            except BundleNotFoundError as error:
                others = [one for one in self.files.values() if one is not file]
                missing = [f for f in others if not (folder / f.place / f.name).is_file()]
                also = (f", and {f.url} at {folder / f.place / f.name}" for f in missing)
                raise BundleNotFoundError(f"{error}{''.join(also)}") from error
        return found


class Registry(Mapping[str, Entry]):
    """Entries by name."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(entries)

    @classmethod
    def load(cls, *paths: Path) -> "Registry":
        """Read the shipped list and the one that `DVSE_BUNDLES` names; or only these files.

        Raises:
            BundleNotFoundError: no such file.
            ConfigError: no TOML, or an entry that is not whole.
        """
        own = os.environ.get("DVSE_BUNDLES")
        found: dict[str, Entry] = {}
        for path in paths or (SHIPPED, *([Path(own)] if own else [])):
            found |= _read(path)
        return cls(found)

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def cache_folder() -> Path:
    """Return where downloads and bundles are kept: `DVSE_CACHE`, or `dvse` in the user's cache."""
    if own := os.environ.get("DVSE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dvse"


def _read(path: Path) -> dict[str, Entry]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleNotFoundError(f"{path}: expected a list of bundles, there is none") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a list of bundles in TOML; {error}") from error
    return {name: _entry(f"{path}: {name}", name, table) for name, table in document.items()}


def _entry(where: str, name: str, table: Any) -> Entry:
    if not isinstance(table, dict) or set(table) != _FIELDS:
        found = sorted(table) if isinstance(table, dict) else type(table).__name__
        raise ConfigError(f"{where}: expected the fields {sorted(_FIELDS)}, received {found}")
    kind, files = table["kind"], table["files"]
    if kind not in KINDS:
        raise ConfigError(f"{where}: expected a kind among {sorted(KINDS)}, received {kind!r}")
    if not isinstance(files, dict) or not KINDS[kind] <= set(files):
        raise ConfigError(f"{where}: expected the files {sorted(KINDS[kind])}")
    sources = {
        role: read_fields(SourceFile, file, where=f"{where}: {role}")
        for role, file in files.items()
    }
    if "config" in sources and sources["config"].place != sources["weights"].place:
        raise ConfigError(f"{where}: expected config and weights from one folder of the web")
    if not isinstance(table["settings"], dict):
        raise ConfigError(f"{where}: expected settings as a table")
    return Entry(name=name, **{**table, "files": sources})
