"""Lines of lhotse's manifests: recordings, and cuts of them with their channels.

A stretch of one file, with the channels that are meant, is read here as any other stretch is. What
lhotse itself computes (transforms, mixed and padded cuts, channels that lie in several files) is
left to lhotse: see `pipelines.sources.lhotse_cut`. A field that lhotse's classes do not have could
mean other samples, so it refuses the line by name.
"""

# ruff: noqa: PTH100, PTH110, PTH117
# Paths stay strings: they come by the million, and os.path is several times faster.

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from dvse.errors import InputError
from dvse.remote.address import is_address, join
from pipelines.sources.kinds import media_record
from pipelines.sources.lhotse_cut import LhotseCut
from pipelines.sources.record import ItemRef, Record, utf8_name
from pipelines.sources.stretches import Stretch, seconds

# What describes a cut and leaves its samples as they are.
_NO_SAMPLES = frozenset(("supervisions", "features", "custom"))
_CUT = _NO_SAMPLES | {"id", "type", "start", "duration", "channel", "recording"}
_FIELDS: Mapping[str, frozenset[str]] = {
    "Cut": _CUT,
    "MonoCut": _CUT,
    "MultiCut": _CUT,
    "MixedCut": _NO_SAMPLES | {"id", "type", "tracks", "transforms", "snr_reference"},
    "PaddingCut": _NO_SAMPLES
    | {"id", "type", "duration", "sampling_rate", "num_samples", "feat_value", "num_frames"}
    | {"num_features", "frame_shift", "video"},
}
_RECORDING = frozenset(
    ("id", "sources", "sampling_rate", "num_samples", "duration", "channel_ids", "transforms")
)
_SOURCE = frozenset(("type", "channels", "source", "video"))
_FILES = ("file", "url")  # one of type `url` holds an address
_RANDOM_ROOM = "rir_generator"
_SUPERVISION = {"recording_id", "start", "duration"}


def is_lhotse(found: Mapping[str, Any]) -> bool:
    """Whether a line is one of lhotse's.

    >>> is_lhotse({"id": "c", "type": "MixedCut", "tracks": []}), is_lhotse({"path": "a.wav"})
    (True, False)
    """
    kind = found.get("type")
    is_cut = isinstance(kind, str) and kind in _FIELDS
    is_part = any(k in found for k in ("recording", "sources", "tracks"))
    return is_cut or is_part or found.keys() >= _SUPERVISION


def lhotse_record(found: Mapping[str, Any], id: str, source: str, folder: str) -> Record:
    """Return the record of a cut or a recording.

    Raises:
        InputError: it is none, or names sounds in a way that is not read here.
    """
    cut = _checked(found, folder)
    text = " ".join(_words(found)) or None
    is_cut = "recording" in cut
    recording = cut["recording"] if is_cut else cut
    channels = _channels(cut.get("channel", cut.get("channel_ids"))) if is_cut else None
    one_file = _one_file(cut, recording, channels)
    if one_file is None:
        place = LhotseCut(json.dumps(cut, ensure_ascii=False))
        refs = (ItemRef(kind="audio", place=place),)
        return Record(id=id, source=source, refs=refs, text=text)
    has = one_file.get("channels") or [0]
    chosen = None if channels is None or channels == has else tuple(has.index(c) for c in channels)
    start, length = (seconds(cut.get(k), k) for k in ("start", "duration"))
    is_whole = not is_cut or (not start and length == recording.get("duration"))
    path = one_file["source"]
    return media_record(
        id=id,
        path=path,
        source=utf8_name(path) if is_whole and chosen is None else source,
        text=text,
        stretch=Stretch(
            start_s=None if is_whole else start or 0.0,
            duration_s=None if is_whole else length,
            channels=chosen,
        ),
    )


def _one_file(
    cut: Mapping[str, Any], recording: Any, channels: list[int] | None
) -> Mapping[str, Any] | None:
    """The file that holds all channels of an unchanged cut, `None` where lhotse has to work."""
    if cut.get("type") in ("MixedCut", "PaddingCut"):
        return None
    if any(holder.get("transforms") for holder in (cut, recording)):
        return None
    files = recording["sources"]
    if channels is None:
        return files[0] if len(files) == 1 else None
    return next((f for f in files if set(channels) <= set(f.get("channels") or [0])), None)


def _checked(found: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The cut or recording without what does not make its samples, with the paths of its files.

    Raises:
        InputError: a field or source that is not known.
    """
    if "sources" in found:
        return _checked_recording(found, folder)
    if found.keys() >= _SUPERVISION and "recording" not in found:
        raise InputError(
            "a supervision says nothing of where its recording lies; make cuts of both manifests "
            "(lhotse cut simple)"
        )
    kind = found.get("type") or ("MixedCut" if "tracks" in found else "MonoCut")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise InputError(f"expected a cut or recording of lhotse, received the type {kind!r}")
    _refuse_unknown(found, _FIELDS[kind], f"a {kind}")
    cut = {k: v for k, v in found.items() if k not in _NO_SAMPLES and v is not None}
    cut["type"] = kind
    if "tracks" in cut:
        cut["tracks"] = [_track(track, folder) for track in _list(cut["tracks"], "tracks")]
    if "snr_reference" in cut:
        cut["snr_reference"] = _track(cut["snr_reference"], folder)
    if "transforms" in cut:
        cut["transforms"] = _transforms(cut["transforms"], folder)
    if kind not in ("MixedCut", "PaddingCut"):
        cut["recording"] = _checked_recording(cut.get("recording"), folder)
    return cut


def _track(track: Any, folder: str) -> dict[str, Any]:
    if not isinstance(track, Mapping) or not isinstance(track.get("cut"), Mapping):
        raise InputError("expected tracks with a cut each")
    inner = {"type": track.get("type"), **track["cut"]}
    return {**track, "cut": _checked(inner, folder)}


def _checked_recording(recording: Any, folder: str) -> dict[str, Any]:
    if not isinstance(recording, Mapping):
        raise InputError("expected a recording whose source is a file")
    _refuse_unknown(recording, _RECORDING, "a recording")
    sources = [s for s in _list(recording.get("sources"), "sources") if isinstance(s, Mapping)]
    if not sources or any(
        s.get("type") not in _FILES or not isinstance(s.get("source"), str) for s in sources
    ):
        kinds = sorted({str(s.get("type")) for s in sources})
        raise InputError(f"expected a recording whose source is a file, received {kinds}")
    for one in sources:
        _refuse_unknown(one, _SOURCE, "a source")
    checked = {k: v for k, v in recording.items() if v is not None}
    checked["sources"] = [
        {**s, "type": "file", "source": _path(s["source"], folder)} for s in sources
    ]
    if "transforms" in checked:
        checked["transforms"] = _transforms(checked["transforms"], folder)
    return checked


def _path(path: str, folder: str) -> str:
    """Paths count from the manifest's folder; lhotse's own count from where it runs."""
    full = join(folder, path)
    if is_address(full) or os.path.isabs(path) or os.path.exists(full):
        return full
    return os.path.abspath(path) if os.path.exists(path) else full


def _transforms(transforms: Any, folder: str) -> list[dict[str, Any]]:
    checked = []
    for transform in _list(transforms, "transforms"):
        if not isinstance(transform, Mapping) or not isinstance(transform.get("kwargs"), Mapping):
            raise InputError(f"expected transforms with name and kwargs, received {transform!r}")
        options = dict(transform["kwargs"])
        if options.get("rir") is None and options.get(_RANDOM_ROOM) is not None:
            # Seeds do not help: lhotse's generator draws from torch besides.
            raise InputError(
                f"the transform {transform.get('name')!r} draws another room each time; give it a "
                "recorded room, or save the cut"
            )
        if isinstance(options.get("rir"), Mapping):
            options["rir"] = _checked(options["rir"], folder)
        checked.append({**transform, "kwargs": options})
    return checked


def _refuse_unknown(found: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    if unknown := sorted(k for k, v in found.items() if k not in known and v is not None):
        raise InputError(f"the fields {unknown} of {what} are none of lhotse's, so what they mean "
                         "for its samples is not known; put them into 'custom'")  # fmt: skip


def _words(found: Mapping[str, Any]) -> Iterator[str]:
    """The texts of all supervisions, of a mixed cut track by track."""
    for supervision in found.get("supervisions") or []:
        if isinstance(supervision, Mapping) and isinstance(supervision.get("text"), str):
            yield supervision["text"]
    for track in found.get("tracks") or []:
        yield from _words(track["cut"])


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"expected a list of {name}, received {type(value).__name__}")
    return value


def _channels(value: Any) -> list[int] | None:
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, int) and v >= 0 for v in values):
        raise InputError(f"expected channels as numbers from 0 on, received {value!r}")
    return values
