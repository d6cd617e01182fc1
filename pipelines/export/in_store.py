"""An export whose place is a store: made on this machine, uploaded file by file, its manifest last.

Trainers' formats are written at many places of a file at once, which objects do not allow. So the
export is made in a folder here, which needs room for all of it and stays until the upload is
finished: a run that was killed goes on there. Readers go by the manifest, so they see a whole
export or none.
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dvse.errors import ConfigError, ShardError
from dvse.remote import object_store
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.atomic_file import write_atomically
from pipelines.export.journal import MANIFEST, read_manifest
from pipelines.export.settings import ExportSettings

_UPLOADED = ".uploaded"


@contextlib.contextmanager
def made_here(settings: ExportSettings, *, overwrite: bool) -> Iterator[ExportSettings]:
    """Give the settings with which an export is made here; upload it when the context ends well.

    Raises:
        ConfigError: there are objects that no export has written, or another export.
        StorageError: the store cannot be written.
    """
    place = settings.output
    if not isinstance(place, RemotePath):
        yield settings
        return
    was_export = overwrite and _delete(place)
    folder = _workshop(place)
    if not folder.exists():
        if not was_export:
            _refuse_strangers(place)
        folder.mkdir(parents=True)
    elif overwrite:
        shutil.rmtree(folder)
        folder.mkdir()
    yield replace(settings, output=folder / "export")
    _upload(folder, place)
    shutil.rmtree(folder)


@contextlib.contextmanager
def read_here(folder: Location) -> Iterator[Path]:
    """Give an export as a folder of this machine: itself, or a copy that goes away again.

    Raises:
        ShardError: there is no finished export.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dvse-export-") as name:
        copy = Path(name)
        try:
            (copy / MANIFEST).write_bytes((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            raise ShardError(
                f"{folder}: there is no {MANIFEST}; expected one that dvse export has finished"
            ) from None
        for part in sorted({part["name"] for part in read_manifest(copy)["files"]}):
            (copy / part).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # verification says that it is missing
                object_store.download(str(folder / part), str(copy / part))
        yield copy


def _workshop(place: RemotePath) -> Path:
    """The folder of this machine for exports to a place; the same in the next run."""
    key = hashlib.sha256(place.address.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"dvse-export-{key}"


def _upload(folder: Path, place: RemotePath) -> None:
    export, noted = folder / "export", folder / _UPLOADED
    noted.mkdir(exist_ok=True)
    names = sorted({part["name"] for part in read_manifest(export)["files"]})
    for name in names:
        note = noted / hashlib.sha256(name.encode()).hexdigest()
        if not note.exists():
            object_store.upload(str(export / name), str(place / name))
            write_atomically(note, name.encode())
    object_store.upload(str(export / MANIFEST), str(place / MANIFEST))


def _refuse_strangers(place: RemotePath) -> None:
    if any(True for _ in place.iterdir()) and not (place / MANIFEST).exists():
        raise ConfigError(
            f"{place}: there are objects that no export from this machine has written; choose an "
            "empty or new place"
        )


def _delete(place: RemotePath) -> bool:
    """Delete an export, its manifest first; return whether there was one."""
    try:
        manifest = (place / MANIFEST).read_bytes()
    except FileNotFoundError:
        return False
    (place / MANIFEST).unlink()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / MANIFEST).write_bytes(manifest)
        for part in {part["name"] for part in read_manifest(Path(name))["files"]}:
            (place / part).unlink()
    return True
