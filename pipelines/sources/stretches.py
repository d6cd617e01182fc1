"""What of a recording a line of a manifest means: its stretch and its channels.

Fields that are known are obeyed; fields that would change the recording and are not done refuse the
line by name, since the recording alone would be another sample.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
_NOTHING: tuple[Any, ...] = (None, "", [], {}, 1, 1.0, "1", "1.0", False)
_AFFIXED = re.compile(
    r"((audio|clip|segment|seg|speech|utt|utterance|wav|crop)_)?"
    r"(start|begin|end|stop|offset|onset|offset_end|speed|tempo|volume|gain|pitch|crop|trim)"
    r"(_(time|s|sec|secs|second|seconds|ms|msec|samples?|frames?|factor|ratio|db|box|idx|index))?"
)
"""Further names of times and changes, as manifests of other programs have them."""
FIELDS = frozenset((*_STARTS, *_ENDS, *_DURATIONS, *_CHANNELS, *_NOT_DONE))
"""Fields that are obeyed, or that refuse a line."""


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
    row = {key.strip().lower(): value for key, value in row.items() if isinstance(key, str)}
    for key, value in row.items():
        is_unknown = key not in FIELDS and _AFFIXED.fullmatch(key) is not None
        if (key in _NOT_DONE or is_unknown) and value not in _NOTHING:
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
