"""A stretch of a recording, or some of its channels, as manifests name them."""

import numpy as np

from dvse.audio.decoding import opened_channels
from dvse.audio.recording import num_samples
from dvse.errors import DecodeError
from dvse.items import Audio

TOLERANCE_S = 0.05
"""How far a stretch may pass the end: manifests round what they state."""


def read_stretch(
    item: Audio,
    *,
    start_s: float | None = None,
    duration_s: float | None = None,
    channels: tuple[int, ...] | None = None,
) -> Audio:
    """Return the stretch as samples float32 [n, channels].

    A duration alone that is the recording's own but for rounding means all of it.

    Raises:
        InputError: it cannot be read, the stretch passes its end, or it has no such channel.

    >>> sound = Audio(np.arange(16, dtype=np.float32) / 16, sample_rate_hz=8000)
    >>> read_stretch(sound, start_s=0.001, duration_s=0.00025).source[:, 0].tolist()
    [0.5, 0.5625]
    """
    opened = opened_channels(item, start_s=start_s or 0.0, is_length_known=duration_s is not None)
    with opened as recording:
        rate, name = recording.sample_rate_hz, recording.name
        is_array = not isinstance(item.source, str | bytes) and hasattr(item.source, "__array__")
        skip = num_samples(start_s or 0.0, rate) if is_array else 0
        wanted = None if duration_s is None else num_samples(duration_s, rate)
        slack = round(TOLERANCE_S * rate)
        blocks, received = [], -skip
        for block in recording.blocks:
            blocks.append(block)
            received += len(block)
            if wanted is not None and received >= wanted + slack:
                break
        samples = np.concatenate(blocks)[skip:] if blocks else np.zeros((0, 1), np.float32)
    if not len(samples):
        raise DecodeError(f"{name}: the stretch begins at {start_s} s, behind its end")
    if wanted is not None:
        if len(samples) < wanted - slack:
            raise DecodeError(
                f"{name}: the stretch of {duration_s:g} s from {start_s or 0:g} s passes its "
                f"end by {(wanted - len(samples)) / rate:.2f} s"
            )
        if start_s is not None or len(samples) > wanted + slack:
            samples = samples[:wanted]
    if channels is not None:
        if max(channels) >= samples.shape[1]:
            raise DecodeError(
                f"{name}: expected channels {list(channels)}, it has {samples.shape[1]}"
            )
        samples = samples[:, list(channels)]
    return Audio(samples, sample_rate_hz=rate, name=name)
