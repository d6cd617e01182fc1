"""Raw samples without any header (`.pcm`, `.raw`), whose format somebody has to declare.

Nothing in such a file says what it is, and a reader that guesses gives noise and no error. So it is
read as what was declared, and refused where nothing was. Imports no reader.
"""

from dataclasses import dataclass
from typing import Self

from dvse.errors import ConfigError, DecodeError

_BYTES = {
    **{"s8": 1, "u8": 1, "mulaw": 1, "alaw": 1},
    **{f"{kind}{end}": int(kind[1:]) // 8 for kind in ("s16", "s24", "s32", "f32", "f64")
       for end in ("le", "be")},
}  # fmt: skip
_CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"caff")
_ENDINGS = (".pcm", ".raw")


@dataclass(frozen=True, kw_only=True)
class PcmFormat:
    """What raw samples are.

    Attributes:
        encoding: `s16le` and the like, as FFmpeg calls them.
        sample_rate_hz, num_channels: channels take turns sample by sample.
    """

    encoding: str
    sample_rate_hz: int
    num_channels: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ENCODING:RATE:CHANNELS`.

        Raises:
            ConfigError: it is none.

        >>> PcmFormat.parse("s16le:16000:1").num_bytes
        2
        """
        encoding, *numbers = text.split(":")
        is_whole = len(numbers) == 2 and all(n.isdecimal() and int(n) > 0 for n in numbers)
        if encoding not in _BYTES or not is_whole or int(numbers[1]) > 1024:
            raise ConfigError(
                "expected the format of raw samples as ENCODING:RATE:CHANNELS, such as "
                f"s16le:16000:1, with one of {', '.join(_BYTES)}; received {text!r}"
            )
        rate, channels = map(int, numbers)
        return cls(encoding=encoding, sample_rate_hz=rate, num_channels=channels)

    @property
    def num_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return _BYTES[self.encoding] * self.num_channels


def is_headerless(name: str, start: bytes = b"") -> bool:
    """Whether a file of this name holds samples and nothing else.

    Args:
        name: of the file.
        start: its first bytes: some give a `.raw` to a WAV.

    >>> is_headerless("a.PCM"), is_headerless("a.wav"), is_headerless("a.raw", b"RIFF....WAVE")
    (True, False, False)
    """
    return name.lower().endswith(_ENDINGS) and not has_header(start)


def has_header(start: bytes) -> bool:
    """Whether bytes begin with the name of a container, which samples do not by chance."""
    return start.startswith(_CONTAINERS)


def undeclared(name: str) -> DecodeError:
    """Return the error of a headerless file of which nobody said what it is."""
    return DecodeError(
        f"{name}: raw samples do not say what they are; declare it: --pcm s16le:16000:1 (encoding, "
        "rate, channels), dvse.Audio(…, pcm='s16le:16000:1') in Python"
    )
