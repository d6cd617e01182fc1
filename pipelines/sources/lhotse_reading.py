"""lhotse computes the samples of a cut, with files that DVSE opens. Imports lhotse."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lhotse
import numpy as np
from lhotse.audio.backend import AudioBackend
from lhotse.cut.set import deserialize_cut
from lhotse.utils import compute_num_samples

from dvse.audio.decoding import opened_channels
from dvse.errors import DecodeError, InputError, TooLargeError
from dvse.items import Audio
from dvse.numerics import use_threads
from dvse.remote.address import is_address
from pipelines.sources.places import file_place

_LARGEST = 1 << 30


def load_audio(cut: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Return the samples float32 [channels, n] of a cut or recording, and its rate in Hz.

    Args:
        cut: as lhotse writes it; taken apart on the way.

    Raises:
        InputError: a file cannot be read, or lhotse refuses the cut.
        TooLargeError: more than 1 GiB of samples.
    """
    rates = dict(_rates(cut))
    try:
        made = lhotse.Recording.from_dict(cut) if "sources" in cut else deserialize_cut(cut)
        num_bytes = 4 * made.num_samples * made.num_channels
        if num_bytes > _LARGEST:
            raise TooLargeError(
                f"expected a cut of at most {_LARGEST >> 20} MiB of samples, received "
                f"{num_bytes >> 20} MiB; cut it into pieces"
            )
        with _read_by(_Reader(rates)), use_threads(1):
            samples = made.load_audio()
    except InputError as error:
        raise type(error)(_first_line(error)) from error
    except Exception as error:  # lhotse and its libraries raise many kinds
        raise DecodeError(f"lhotse cannot load this cut; {_first_line(error)}") from error
    if samples is None:
        raise DecodeError("the cut has no recording")
    return samples.astype(np.float32, copy=False), int(made.sampling_rate)


class _Reader(AudioBackend):
    """Reads the files of a cut as DVSE reads any other."""

    def __init__(self, rates: dict[str, int]) -> None:
        self._rates = rates

    def read_audio(
        self,
        path_or_fd: Any,
        offset: float = 0.0,
        duration: float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[np.ndarray, int]:
        """Return samples float32 [channels, n] from a place on, and their rate."""
        path = str(path_or_fd)
        blocks, received = [], 0
        source = file_place(path).read() if is_address(path) else path
        with opened_channels(Audio(source, name=path), start_s=offset) as recording:
            rate = recording.sample_rate_hz
            if rate != self._rates[path]:
                raise DecodeError(
                    f"{recording.name}: the file has {rate} Hz, the manifest says "
                    f"{self._rates[path]}"
                )
            wanted = None if duration is None else compute_num_samples(duration, rate)
            for block in recording.blocks:
                blocks.append(block)
                received += len(block)
                if wanted is not None and received >= wanted:
                    break
        if not blocks:
            raise DecodeError(f"{path}: it ends before {offset:g} s")
        return np.concatenate(blocks)[:wanted].T, rate


@contextmanager
def _read_by(reader: AudioBackend) -> Iterator[None]:
    before = lhotse.get_current_audio_backend()
    lhotse.set_current_audio_backend(reader)
    try:
        with lhotse.resampling_backend("default"):
            yield
    finally:
        lhotse.set_current_audio_backend(before)


def _rates(found: Any) -> Iterator[tuple[str, int]]:
    """The path of each file and the rate that it should have: before it is resampled."""
    if isinstance(found, list):
        for one in found:
            yield from _rates(one)
    elif isinstance(found, dict):
        for value in found.values():
            yield from _rates(value)
        if "sources" in found:
            resamplings = [
                transform["kwargs"]["source_sampling_rate"]
                for transform in found.get("transforms") or []
                if transform["name"] == "Resample"
            ]
            rate = [*resamplings, found.get("sampling_rate")][0]
            for source in found["sources"]:
                yield source["source"], rate


def _first_line(error: Exception) -> str:
    """What went wrong, without the arguments that lhotse adds to it."""
    return str(error).partition("\n")[0] or type(error).__name__
