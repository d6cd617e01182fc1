"""What of a recording a line of a manifest means: its stretch and its channels.

Fields that are known are obeyed; fields that would change the recording and are not done refuse the
line by name, since the recording alone would be another sample.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dvse.errors import InputError

_STARTS = ("offset", "start", "start_time", "begin", "start_s")
_ENDS = ("end", "end_time", "stop", "end_s")
_DURATIONS = ("duration", "dur", "duration_s")
_CHANNELS = ("channel", "channels", "channel_selector")
_NOT_DONE = (
    "speed", "tempo", "volume", "gain", "pitch", "transforms", "effects", "sox_effects", "augment",
    "frame_offset", "num_frames", "start_sample", "end_sample", "start_frame", "end_frame",
    "reverse", "mix", "tracks", "trim",
)  # fmt: skip
FIELDS = frozenset((*_STARTS, *_ENDS, *_DURATIONS, *_CHANNELS, *_NOT_DONE))
"""Fields that are obeyed, or that refuse a line."""

# What manifests of other programs call times and changes is made of these words.
_CHANGES = frozenset(
    ("start", "begin", "end", "stop", "offset", "onset", "speed", "tempo", "volume", "gain",
     "pitch", "crop", "trim", "rotate", "rotation", "flip", "mirror", "reverse")
)  # fmt: skip
_FACTORS = frozenset(("speed", "tempo", "volume", "factor", "ratio"))
_LENGTHS = frozenset(("duration", "dur", "length", "len", "num", "n", "samples", "frames"))
_BESIDE = frozenset(
    ("s", "sec", "secs", "second", "seconds", "ms", "msec", "time", "at", "sample", "frame", "db",
     "box", "idx", "index", "perturb", "x", "y", "audio", "clip", "segment", "seg", "speech", "utt",
     "utterance", "wav", "image", "recording", "horizontal", "vertical", "degrees", "angle")
)  # fmt: skip
_CHANNEL_NUMBERS = frozenset(("ch", "chan", "channel", "id", "index", "idx"))
_TIMES = frozenset(("from", "to", "t0", "t1", "tmin", "tmax"))
_SPANS = frozenset(("segment", "segments", "interval", "span", "range", "timestamp", "timestamps"))
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch; `None` for from the beginning, to the end, and all channels."""

    start_s: float | None = None
    duration_s: float | None = None
    channels: tuple[int, ...] | None = None


def stretch_of(row: Mapping[str, Any]) -> Stretch:
    """Return the stretch that the fields of a line name.

    Raises:
        InputError: a field that is not done, or a value that is no time.

    >>> stretch_of({"start": 1.0, "end": "1.5"})
    Stretch(start_s=1.0, duration_s=0.5, channels=None)
    """
    row = {_plain(key): value for key, value in row.items() if isinstance(key, str)}
    for key, value in row.items():
        if _changes(key, value, row):
            raise InputError(f"the field {key!r} changes the recording, which is not done here")
    start = _first(row, _STARTS)
    end = _first(row, _ENDS)
    duration = _first(row, _DURATIONS)
    if end is not None:
        if end <= (start or 0.0):
            raise InputError(f"the stretch ends at {end:g} s, before it begins")
        duration, start = round(end - (start or 0.0), 9), start or 0.0
    channels = next((row[k] for k in _CHANNELS if row.get(k) not in (None, "", "average")), None)
    is_count = isinstance(channels, int) and not any(
        row.get(k) is not None for k in ("channel", "channel_selector")
    )
    return Stretch(
        start_s=start,
        duration_s=duration,
        channels=None if channels is None or is_count else _channels(channels),
    )


def is_obeyed(field: str) -> bool:
    """Whether a field says which part is meant, or refuses the line, however it is spelt.

    >>> is_obeyed("startTime"), is_obeyed("Start (s)"), is_obeyed("speaker")
    (True, True, False)
    """
    return _plain(field) in FIELDS


def is_about_media(field: str) -> bool:
    """Whether a field may be obeyed, or refuse the line for what it holds.

    >>> is_about_media("segment_start_ms"), is_about_media("weekend")
    (True, False)
    """
    words = _words(field)
    known = is_obeyed(field) or field.lower() in _SPANS | _TIMES
    return known or bool(words & (_CHANGES | _LENGTHS | _CHANNEL_NUMBERS))


@cache
def _words(field: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(field))


@cache
def _plain(field: str) -> str:
    """A field as the tables above have it: `Start (s)` is `start_s`, `endTime` is `end_time`."""
    lower, joined = field.strip().lower(), "_".join(_WORD.findall(field)).lower()
    return next((name for name in (lower, joined) if name in FIELDS), field)


def _changes(key: str, value: Any, row: Mapping[str, Any]) -> bool:
    """Whether a field would change what is read, and is not done."""
    words = _words(key)
    if words & {"ch", "chan", "channel"} and key not in FIELDS:
        return words <= _CHANNEL_NUMBERS and _is_number(value)
    if _is_neutral(value, 1.0 if words & _FACTORS else 0.0):
        return False
    if key in FIELDS:
        return key in _NOT_DONE
    if words & _CHANGES and words <= _CHANGES | _FACTORS | _LENGTHS | _BESIDE:
        return True
    if words & _LENGTHS and words <= _LENGTHS | _BESIDE:
        # Alone it describes the file; behind a start it may say where to stop.
        given = {k for k in FIELDS if row.get(k) not in (None, "")}
        return bool(given & {*_STARTS}) and not given & {*_ENDS, *_DURATIONS}
    if key.lower() in _SPANS:
        return isinstance(value, list) and _is_span(value)
    return key.lower() in _TIMES and _is_number(value)


def _is_neutral(value: Any, neutral: float) -> bool:
    if value is None or value is False or value in ("", [], {}):
        return True
    try:
        return float(value) == neutral
    except (TypeError, ValueError):
        return False


def _is_span(value: list[Any]) -> bool:
    """Whether these are two numbers, or all of them such pairs."""
    if any(isinstance(one, list) for one in value):
        return all(isinstance(one, list) and _is_span(one) for one in value)
    return len(value) == 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _first(row: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    return next((s for k in keys if (s := seconds(row.get(k), k)) is not None), None)


def seconds(value: Any, key: str) -> float | None:
    """Return a time in seconds, `None` for none.

    Raises:
        InputError: it is no number of at least 0.
    """
    if value is None or value == "":
        return None
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number < float("inf"):
        raise InputError(f"expected {key} to be seconds of at least 0, received {value!r}")
    return number


def _channels(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    try:
        found = tuple(int(v) for v in values)
    except (TypeError, ValueError):
        found = ()
    if not found or min(found) < 0:
        raise InputError(f"expected channels as numbers from 0 on, received {value!r}")
    return found
