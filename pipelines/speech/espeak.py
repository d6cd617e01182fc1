"""Speech made by espeak-ng, with the phonemes and words it says and when it says them.

The library is called through ctypes (`libespeak-ng.so.1`, from the package that also brings the
`espeak-ng` command), because only the library reports at which moment each phoneme begins: labels
for every frame, without an aligner. It refuses to know what the speech is for.
"""

import ctypes
import ctypes.util
import functools
from dataclasses import dataclass

import numpy as np

from dvse.errors import ConfigError, MissingExtraError

SILENCE = "sil"
"""Name of the phone where nothing is said."""

_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 2, 1, 2, 1 << 15
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD_EVENT, _PHONEME_EVENT = 1, 7
_MARKS = str.maketrans("", "", "ˈˌːˑ̩̃ʰ-ʲ1234567890;^'")


@dataclass(frozen=True, kw_only=True)
class Span:
    """A label that holds from `start_s` until the next span begins."""

    start_s: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What was spoken: `samples` float32 [n] in [-1, 1], phones in IPA and words, in order."""

    samples: np.ndarray
    sample_rate_hz: int
    phones: tuple[Span, ...]
    words: tuple[Span, ...]


class Espeak:
    """The synthesiser of this process (the library keeps one state, which objects share).

    Raises:
        MissingExtraError: espeak-ng is not installed; the message says how to install it.
    """

    def __init__(self) -> None:
        self._library, self.sample_rate_hz = _initialized_library()

    def speak(
        self,
        text: str,
        *,
        voice: str,
        words_per_minute: int = 160,
        pitch: int = 50,
        range_: int = 50,
    ) -> Speech:
        """Say `text` (words separated by single spaces).

        Args:
            voice: an espeak-ng voice, for example `gmw/en-US`, or with a variant `gmw/en+f3`.
            words_per_minute: 80 … 450.
            pitch, range_: 0 … 100; height of the voice and how much it moves.

        Raises:
            ConfigError: no such voice.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ConfigError(f"espeak-ng has no voice {voice!r}; see espeak-ng --voices=en")
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, range_)):
            self._library.espeak_SetParameter(parameter, value, 0)
        blocks: list[np.ndarray] = []
        phones: list[Span] = []
        words: list[Span] = []
        encoded = text.encode()

        def collect(wav: object, num_samples: int, events: object) -> int:
            if wav and num_samples > 0:
                blocks.append(np.ctypeslib.as_array(wav, (num_samples,)).copy())
            for event in _until_end(events):
                start_s = event.audio_position / 1000
                if event.type == _PHONEME_EVENT:
                    phones.append(Span(start_s=start_s, label=_phone(event.string)))
                elif event.type == _WORD_EVENT:
                    first = event.text_position - 1
                    words.append(
                        Span(start_s=start_s, label=text[first : first + event.length].lower())
                    )
            return 0

        callback = _CALLBACK(collect)
        self._library.espeak_SetSynthCallback(callback)
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
        return Speech(
            samples=samples.astype(np.float32) / 32768,
            sample_rate_hz=self.sample_rate_hz,
            phones=tuple(phones),
            words=tuple(words),
        )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@functools.cache  # a second initialisation would leave the first one's threads waiting
def _initialized_library() -> tuple[ctypes.CDLL, int]:
    library = _load_library()
    options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
    sample_rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, None, options)
    if sample_rate_hz <= 0:
        raise MissingExtraError(
            "espeak-ng is installed without its data; install it again "
            "(Debian: apt-get install --reinstall espeak-ng espeak-ng-data)"
        )
    return library, sample_rate_hz


def _load_library() -> ctypes.CDLL:
    for name in ("libespeak-ng.so.1", ctypes.util.find_library("espeak-ng")):
        if name:
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
    raise MissingExtraError(
        "espeak-ng is not installed and the speech to train on is made with it; install it with: "
        "apt-get install espeak-ng (macOS: brew install espeak-ng)"
    )


def _until_end(events: object) -> "list[_Event]":
    found = []
    index = 0
    while events and events[index].type != 0:  # type: ignore[index]
        found.append(events[index])  # type: ignore[index]
        index += 1
    return found


def _phone(string: bytes) -> str:
    label = string.decode("utf-8", "ignore").translate(_MARKS).strip("_:| ")
    return label or SILENCE
