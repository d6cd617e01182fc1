"""A line of a manifest, whatever its format: which fields name files, texts, stretches.

Names of fields are those that people use (NeMo, Common Voice, imagefolder, …), upper or lower case.
Fields that are known are obeyed, those that would change the recording and are not done refuse the
line (`stretches`), and the others are named in the record, for the summary.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dvse.errors import DecodeError, InputError
from dvse.remote.address import join
from pipelines.sources.kinds import held_record, media_record
from pipelines.sources.named_media import PATH_FIELDS, media_of
from pipelines.sources.record import ItemRef, Record, failed, utf8_name
from pipelines.sources.sniffing import bytes_of_base64, kind_of_bytes
from pipelines.sources.stretches import Stretch, is_obeyed, stretch_of

_TEXT_FIELDS = ("text", "caption", "transcription", "transcript", "sentence", "label", "class")
_ID_FIELDS = ("id", "utt_id", "key")
_OTHER = frozenset((*_TEXT_FIELDS, *_ID_FIELDS))
_METADATA = "metadata."


def path_fields(manifest: str) -> Sequence[str]:
    """Return the fields that name a file, first choice first: `file_name` in a `metadata.csv`."""
    is_metadata = manifest.rpartition("/")[2].startswith(_METADATA)
    return ("file_name", "file_names", *PATH_FIELDS) if is_metadata else PATH_FIELDS


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
    spelt = {key.strip().lower(): key for key in row if isinstance(key, str)}
    lower = {key: row[name] for key, name in spelt.items()}
    given = next((lower[f] for f in _ID_FIELDS if lower.get(f) not in (None, "")), None)
    text_field = next((f for f in _TEXT_FIELDS if lower.get(f) not in (None, "")), None)
    try:
        named = media_of(lower, paths, _OTHER)
    except InputError as error:
        return failed(fallback_id if given is None else utf8_name(str(given)), source, error)
    if not named:
        return None
    files = [file for _, value in named for file in value]
    is_one = len(files) == 1 and bytes_of_base64(files[0]) is None
    id = utf8_name(files[0]) if is_one else fallback_id
    id = id if given is None else utf8_name(str(given))
    used = {*_ID_FIELDS, text_field, *(field for field, _ in named)}
    try:
        text = None if text_field is None else _text(lower[text_field], text_field)
        stretch = stretch_of(row)
        record = _record(id, files, folder, source, text, stretch)
    except InputError as error:
        return failed(id, source, error)
    unused = tuple(f for f in lower if f not in used and not is_obeyed(spelt[f]))
    return replace(record, unused=unused)


def _record(
    id: str, files: Sequence[str], folder: str, source: str, text: str | None, stretch: Stretch
) -> Record:
    is_whole = stretch == Stretch()
    if len(files) > 1 and not is_whole:
        raise InputError("a stretch or channel of several files; give each a line")
    found = [
        _one(id, file, folder, source, text, stretch, is_alone=is_whole and len(files) == 1)
        for file in files
    ]
    record = next((one for one in found if one.failure is not None), found[0])
    refs = () if record.failure else tuple(ref for one in found for ref in one.refs)
    return replace(record, refs=refs)


def _one(
    id: str,
    file: str,
    folder: str,
    source: str,
    text: str | None,
    stretch: Stretch,
    *,
    is_alone: bool,
) -> Record:
    data = bytes_of_base64(file)
    if data is not None:
        kind = kind_of_bytes(data)
        if kind is None:
            raise DecodeError("the line holds bytes that are no picture and no recording")
        return held_record(id=id, kind=kind, data=data, source=source, text=text, stretch=stretch)
    path = join(folder, file)
    return media_record(
        id=id,
        path=path,
        source=utf8_name(path) if is_alone else source,
        text=text,
        stretch=stretch,
    )


def _text(value: Any, field: str) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        ItemRef.of_text(text)  # refuse what a shard could not hold
    except DecodeError as error:
        raise DecodeError(f"the field {field!r} is no UTF-8; {error}") from None
    return text
