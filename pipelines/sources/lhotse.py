"""Lines of lhotse's manifests: recordings, and cuts of them with their channels.

A cut names channels of a recording, and a recording may lie in several files with some channels
each. What changes samples and is not done here (mixed and padded cuts, transforms) is refused by
name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dvse.errors import InputError
from dvse.remote.address import join
from pipelines.sources.kinds import media_record
from pipelines.sources.record import Record, utf8_name
from pipelines.sources.stretches import Stretch, seconds

# A source of type `url` holds an address.
_FILES = ("file", "url")


def lhotse_record(found: Mapping[str, Any], id: str, source: str, folder: str) -> Record:
    """Return the record of a cut or a recording.

    Raises:
        InputError: it is none, or changes samples in a way that is not done.
    """
    is_cut = "recording" in found
    kind = found.get("type")
    if "tracks" in found or kind in ("MixedCut", "PaddedCut", "PaddingCut"):
        raise InputError(f"a {kind or 'MixedCut'} of lhotse is not mixed or padded here; save it")
    recording = found["recording"] if is_cut else found
    if not isinstance(recording, Mapping):
        raise InputError("expected a recording whose source is a file")
    for holder in (found, recording):
        if transforms := holder.get("transforms"):
            raise InputError(f"the transforms of lhotse are not done here: {_names(transforms)}")
    channels = _channels(found.get("channel", found.get("channel_ids"))) if is_cut else None
    first = _source(recording.get("sources"), channels)
    path = join(folder, str(first.get("source")))
    has = first.get("channels") or [0]
    chosen = None if channels is None or channels == has else tuple(has.index(c) for c in channels)
    words = [s.get("text") for s in found.get("supervisions") or [] if isinstance(s, Mapping)]
    start, length = (seconds(found.get(k), k) for k in ("start", "duration"))
    is_whole = not is_cut or (not start and length == recording.get("duration"))
    return media_record(
        id=id,
        path=path,
        source=utf8_name(path) if is_whole and chosen is None else source,
        text=" ".join(w for w in words if isinstance(w, str)) or None,
        stretch=Stretch(
            start_s=None if is_whole else start or 0.0,
            duration_s=None if is_whole else length,
            channels=chosen,
        ),
    )


def _source(sources: Any, channels: list[int] | None) -> Mapping[str, Any]:
    """The one file that holds the channels."""
    files = [s for s in sources or [] if isinstance(s, Mapping)]
    if not files or any(s.get("type") not in _FILES for s in files):
        kinds = sorted({str(s.get("type")) for s in files})
        raise InputError(f"expected a recording whose source is a file, received {kinds}")
    if len(files) == 1 and channels is None:
        return files[0]
    if channels is None:
        raise InputError(f"the recording lies in {len(files)} files; name channels with cuts")
    for file in files:
        if set(channels) <= set(file.get("channels") or [0]):
            return file
    raise InputError(f"the channels {channels} lie in no single file of the recording")


def _channels(value: Any) -> list[int] | None:
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, int) and v >= 0 for v in values):
        raise InputError(f"expected channels as numbers from 0 on, received {value!r}")
    return values


def _names(transforms: Any) -> list[str]:
    listed = transforms if isinstance(transforms, Sequence) else [transforms]
    return [str(t.get("name")) if isinstance(t, Mapping) else str(t) for t in listed]
