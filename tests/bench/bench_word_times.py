"""When words were said, as the server tells it: seconds off, of starts and ends together.

Joined digits whose places are known (a word begins and ends with its clip, which has some silence
of its own), of known and unknown speakers, and digits that espeak-ng says without pauses and times
itself. Recordings that were written down wrongly are left out and counted. The peer gives each word
an equal part of the recording. The digits lie in `$DVSE_DATA/fsdd` (default: ../shared/data).
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median, quantiles

import httpx
import numpy as np
import soundfile
from serving import serving
from timing import Row

from pipelines.speech.clips import DigitSplit, load_digits
from pipelines.speech.espeak import SILENCE, Espeak, Span
from pipelines.speech.joining import digit_sequence
from pipelines.speech.word_lists import DIGIT_WORDS

_DATA = Path(os.environ.get("DVSE_DATA", "../shared/data")) / "fsdd"
_RATE_HZ, _RECORDINGS = 8000, 100
_VOICES = ("gmw/en-US", "gmw/en", "gmw/en-US+f2", "gmw/en+m3")
# Samples, their rate, and the words with the silences between them.
_Said = tuple[np.ndarray, int, Sequence[Span]]


def rows() -> Iterator[Row]:
    """Known speakers, the unknown one, espeak-ng; about three minutes."""
    with serving("tiny") as server:
        place = f"http://{server.host}:{server.port}/v1/audio/transcriptions"
        for name, make in CASES_OF_SPEECH.items():
            yield _row(name, place, list(make()))


def _joined(split: DigitSplit) -> Iterator[_Said]:
    digits = load_digits(_DATA, split, sample_rate_hz=_RATE_HZ)
    rng = np.random.default_rng(7)
    for _ in range(_RECORDINGS):
        clip = digit_sequence(digits, rng, rate_hz=_RATE_HZ)
        yield clip.samples, _RATE_HZ, clip.words


def _spoken() -> Iterator[_Said]:
    synthesiser, rng = Espeak(), np.random.default_rng(7)
    for _ in range(_RECORDINGS):
        text = " ".join(rng.choice(DIGIT_WORDS, int(rng.integers(2, 6))))
        speech = synthesiser.speak(
            text, voice=str(rng.choice(_VOICES)), words_per_minute=int(rng.integers(100, 170))
        )
        silent = [s.start_s for s in speech.phones if s.label == SILENCE]
        length_s = len(speech.samples) / speech.sample_rate_hz
        end_s = max([s for s in silent if s > speech.words[-1].start_s], default=length_s)
        words = [*speech.words, Span(start_s=end_s, label="")]
        yield speech.samples, speech.sample_rate_hz, words


CASES_OF_SPEECH: dict[str, Callable[[], Iterator[_Said]]] = {
    "known": lambda: _joined("known"),
    "unknown": lambda: _joined("unknown"),
    "espeak": _spoken,
}


def _row(name: str, place: str, recordings: Sequence[_Said]) -> Row:
    ours: list[float] = []
    equal: list[float] = []
    num_right = num_words = 0
    for samples, rate_hz, spans in recordings:
        length_s = len(samples) / rate_hz
        ends = [*(span.start_s for span in spans[1:]), length_s]
        said = [(s.label, s.start_s, end) for s, end in zip(spans, ends, strict=True) if s.label]
        found = _words(place, samples, rate_hz)
        if [word["word"] for word in found] != [label for label, _, _ in said]:
            continue
        num_right += 1
        num_words += len(said)
        for number, (word, (_, start, end)) in enumerate(zip(found, said, strict=True)):
            ours += [abs(word["start"] - start), abs(word["end"] - end)]
            part = length_s / len(said)
            equal += [abs(part * number - start), abs(part * (number + 1) - end)]
    return Row(
        name=f"word_times.{name}",
        ours=median(ours),
        peer=median(equal),
        ratio=median(ours) / median(equal),
        note=f"median; mean {mean(ours):.3f} and {mean(equal):.3f} s, 95 % within "
        f"{quantiles(ours, n=20)[-1]:.2f} and {quantiles(equal, n=20)[-1]:.2f} s; {num_words} "
        f"words of {num_right} of {len(recordings)} recordings, written down rightly; peer: "
        "words of equal length",
    )


def _words(place: str, samples: np.ndarray, rate_hz: int) -> list[dict]:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV")
    asked = {
        "model": "m",
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word"],
    }
    answer = httpx.post(place, files={"file": ("a.wav", file.getvalue())}, data=asked, timeout=60)
    return answer.raise_for_status().json()["words"]
