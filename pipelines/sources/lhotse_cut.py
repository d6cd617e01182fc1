"""A cut that lhotse puts together: transformed, mixed, padded, or from several files.

It travels to the decode workers as the JSON that lhotse reads. Its samples are what lhotse's own
`load_audio()` gives; only the files are opened by DVSE, so that one that is cut short is noticed,
and so that no name of a file reaches a shell, as it would in lhotse's readers of some formats.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import soundfile

from dvse.errors import DecodeError, MissingExtraError
from pipelines.sources.record import Place


@dataclass(frozen=True, slots=True)
class LhotseCut(Place):
    """A cut or recording of lhotse, as JSON with absolute paths and sources of files alone."""

    cut: str

    @property
    def path(self) -> str | None:
        """None: its samples lie in no file."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """The files of its recordings, each once."""
        return tuple(dict.fromkeys(_files(json.loads(self.cut))))

    def read(self) -> bytes:
        """Return the samples of all channels as float32 in an AU file, bit for bit.

        Raises:
            DecodeError: lhotse is not installed, or cannot do it.
            TooLargeError: more samples than fit in memory.
        """
        try:
            from pipelines.sources.lhotse_reading import load_audio
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "lhotse":
                raise
            problem = MissingExtraError.for_extra("lhotse", "lhotse")
            raise DecodeError(
                f"a cut with transforms, several tracks or several files; {problem}"
            ) from None
        samples, rate_hz = load_audio(json.loads(self.cut))
        file = io.BytesIO()
        # AU, since a WAV of floats holds the time at which it was written.
        soundfile.write(file, samples.T, rate_hz, format="AU", subtype="FLOAT")
        return file.getvalue()


def _files(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            if key == "sources":
                yield from (source["source"] for source in value)
            else:
                yield from _files(value)
    elif isinstance(found, list):
        for value in found:
            yield from _files(value)
