"""A line of a manifest, whatever its format: which fields name files, texts, stretches.

Names of fields are those that people use (NeMo, Common Voice, imagefolder, …), upper or lower case.
Fields that are known are obeyed, those that would change the recording and are not done refuse the
line (`stretches`), and the others are named in the record, for the summary.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dvse.errors import InputError
from dvse.remote.address import join
from pipelines.sources.kinds import media_record
from pipelines.sources.record import ItemRef, Record, failed, utf8_name
from pipelines.sources.stretches import FIELDS, Stretch, stretch_of

PATH_FIELDS = (
    "audio_filepath", "audio_path", "image_path", "file_path", "filepath", "path", "wav_path",
    "img_path", "wav", "image", "audio", "img", "file_name", "filename", "image_file",
    "audio_file", "file", "clip",
)  # fmt: skip
_TEXT_FIELDS = ("text", "caption", "transcription", "transcript", "sentence", "label", "class")
_ID_FIELDS = ("id", "utt_id", "key")
_METADATA = "metadata."


def path_fields(manifest: str) -> Sequence[str]:
    """Return the fields that name a file, first choice first: `file_name` in a `metadata.csv`."""
    is_metadata = manifest.rpartition("/")[2].startswith(_METADATA)
    return ("file_name", "file_names", *PATH_FIELDS) if is_metadata else PATH_FIELDS


def names_media(fields: Iterable[str]) -> bool:
    """Whether one of these fields names files.

    >>> names_media(["id", "Path"]), names_media(["left_file_name"]), names_media(["text"])
    (True, True, False)
    """
    lower = [field.strip().lower() for field in fields]
    return any(field in PATH_FIELDS or _is_file_name(field) for field in lower)


def row_record(
    row: Mapping[str, Any], *, folder: str, fallback_id: str, source: str, paths: Sequence[str]
) -> Record | None:
    """Return the record of a line that names files, or its failure; `None` where it names none.

    Args:
        row: field → value.
        folder: of the manifest, from which paths count.
        fallback_id: where the line has no name of its own and several files.
        source: where the line stands.
        paths: fields that name a file, see `path_fields`.
    """
    row = {key.strip().lower(): value for key, value in row.items() if isinstance(key, str)}
    named = _files(row, paths)
    if not named:
        return None
    files = [file for _, value in named for file in value]
    given = next((row[f] for f in _ID_FIELDS if row.get(f) not in (None, "")), None)
    id = utf8_name(files[0]) if len(files) == 1 else fallback_id
    id = id if given is None else utf8_name(str(given))
    text_field = next((f for f in _TEXT_FIELDS if row.get(f) not in (None, "")), None)
    used = {*FIELDS, *_ID_FIELDS, text_field, *(field for field, _ in named)}
    try:
        text = None if text_field is None else _text(row[text_field])
        record = _record(id, files, folder, source, text, stretch_of(row))
    except InputError as error:
        return failed(id, source, error)
    return replace(record, unused=tuple(f for f in row if f not in used))


def _record(
    id: str, files: Sequence[str], folder: str, source: str, text: str | None, stretch: Stretch
) -> Record:
    is_whole = stretch == Stretch()
    if len(files) > 1 and not is_whole:
        raise InputError("a stretch or channel of several files; give each a line")
    found = [
        media_record(
            id=id,
            path=path,
            source=utf8_name(path) if is_whole and len(files) == 1 else source,
            text=text,
            stretch=stretch,
        )
        for path in (join(folder, file) for file in files)
    ]
    record = next((one for one in found if one.failure is not None), found[0])
    refs = () if record.failure else tuple(ref for one in found for ref in one.refs)
    return replace(record, refs=refs)


def _files(row: Mapping[str, Any], paths: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The fields that name files, and the files; `left_file_name` beside others of its kind."""
    first = next((field for field in paths if _values(row.get(field))), None)
    if first is not None and not _is_file_name(first):
        return [(first, _values(row[first]))]
    return [(f, _values(v)) for f, v in row.items() if _is_file_name(f) and _values(v)]


def _is_file_name(field: str) -> bool:
    """Whether `datasets` takes a field of its metadata files for the name of a file."""
    return field in ("file_name", "file_names") or field.endswith(("_file_name", "_file_names"))


def _values(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, str) and v]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    ItemRef.of_text(text)  # refuse what a shard could not hold
    return text
