"""Speech with labels for every moment: recorded digits, and words spoken by espeak-ng.

Both come back as `Clip`s at one sample rate. The splits of the digit recordings are fixed here,
once, for training and for every figure.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import soundfile

from dvse.errors import TrainingError
from pipelines.speech.espeak import Espeak, Span
from pipelines.speech.word_lists import DIGIT_WORDS, TRAINING_WORDS

if TYPE_CHECKING:
    from torch import Tensor

DigitSplit = Literal["train", "known", "unknown"]

UNKNOWN_SPEAKER = "lucas"
VALIDATION_INDICES = range(5, 10)

_BASE_VOICES = """
gmw/en-US gmw/en-US gmw/en gmw/en gmw/en-GB-x-rp gmw/en-GB-scotland gmw/en-029 gmw/en-US-nyc
"""
_VARIANTS = """
m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 klatt5 klatt6 Andy Annie Denis
Gene Jacky Lee Mario Michael Mike Alex Alicia Andrea Diogo Hugo adam belinda benjamin boris caleb
david ed edward grandma grandpa iven john linda max michel miguel norbert paul pedro quincy rob
robert sandro shelby steph travis victor zac croak
"""
BASE_VOICES = tuple(_BASE_VOICES.split())
"""Accents of English that espeak-ng speaks; the two commonest stand twice."""
VOICE_VARIANTS = ("", *_VARIANTS.split())
"""Speakers that espeak-ng makes out of each accent."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A recording with what is said in it.

    Attributes:
        samples: float32 [n] at the rate that was asked for.
        speaker: who speaks, or the name of the voice.
        phones, words: labels by time; phones are unknown in recorded digits.
    """

    samples: np.ndarray
    speaker: str = ""
    phones: tuple[Span, ...] = ()
    words: tuple[Span, ...] = ()

    @property
    def digits(self) -> list[int]:
        """Values of the digits among its words, in order."""
        return [DIGIT_WORDS.index(s.label) for s in self.words if s.label in DIGIT_WORDS]


def digit_paths(folder: Path, split: DigitSplit) -> list[tuple[Path, int, str]]:
    """Return path, digit and speaker of one split of the Free Spoken Digit Dataset.

    `train`: the known speakers without the validation indices; `known`: those indices;
    `unknown`: every recording of the speaker that is never trained on.

    Raises:
        TrainingError: no manifest there, or a line of it that cannot be read.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise TrainingError(
            f"{folder}: expected the Free Spoken Digit Dataset with its manifest.jsonl"
        )
    found = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            path, digit = folder / row["audio_filepath"], DIGIT_WORDS.index(row["text"])
            index, speaker = int(path.stem.rsplit("_", 1)[1]), row["speaker"]
        except (ValueError, KeyError, IndexError) as error:
            raise TrainingError(f"{manifest}: line {number} cannot be read; {error}") from error
        if speaker == UNKNOWN_SPEAKER:
            belongs: DigitSplit = "unknown"
        else:
            belongs = "known" if index in VALIDATION_INDICES else "train"
        if belongs == split:
            found.append((path, digit, speaker))
    if not found:
        raise TrainingError(f"{manifest}: expected recordings of the split {split!r}, found none")
    return sorted(found)


def load_digits(folder: Path, split: DigitSplit, *, sample_rate_hz: int) -> list[Clip]:
    """Read one split of the digit recordings.

    Raises:
        TrainingError: see `digit_paths`.
    """
    clips = []
    for path, digit, speaker in digit_paths(folder, split):
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        mono = resampled(samples.mean(1), rate_hz, sample_rate_hz)
        said = Span(start_s=0.0, label=DIGIT_WORDS[digit])
        clips.append(Clip(samples=mono, speaker=speaker, words=(said,)))
    return clips


def synthesize_words(
    *,
    hours: float,
    sample_rate_hz: int,
    seed: int = 0,
    words: Sequence[str] = TRAINING_WORDS,
    digit_share: float = 0.3,
) -> Iterator[Clip]:
    """Yield about `hours` of random word sequences in many voices, rates and pitches.

    A seed chooses the same texts and voices again; espeak-ng's own jitter of a few samples goes on
    from call to call, so only a fresh process repeats the samples.

    Args:
        words: what may be said.
        digit_share: share of words that are one of the ten digits.

    Raises:
        MissingExtraError: espeak-ng is not installed.
    """
    synthesiser = Espeak()
    rng = np.random.default_rng(seed)
    voices = [f"{base}+{variant}".rstrip("+") for base in BASE_VOICES for variant in VOICE_VARIANTS]
    left_s = hours * 3600
    while left_s > 0:
        text = " ".join(
            str(rng.choice(DIGIT_WORDS)) if rng.random() < digit_share else str(rng.choice(words))
            for _ in range(int(rng.integers(3, 9)))
        )
        voice = str(rng.choice(voices))
        speech = synthesiser.speak(
            text,
            voice=voice,
            words_per_minute=int(rng.integers(110, 240)),
            pitch=int(rng.integers(15, 85)),
            range_=int(rng.integers(10, 90)),
        )
        left_s -= len(speech.samples) / speech.sample_rate_hz
        yield Clip(
            samples=resampled(speech.samples, speech.sample_rate_hz, sample_rate_hz),
            speaker=voice,
            phones=speech.phones,
            words=speech.words,
        )


def resampled(samples: np.ndarray, rate_hz: int, new_rate_hz: int) -> np.ndarray:
    """Return `samples` at another rate (band-limited, torchaudio's windowed sinc)."""
    if rate_hz == new_rate_hz:
        return samples
    import torch

    return _resampler(rate_hz, new_rate_hz)(torch.from_numpy(samples)).numpy()


@functools.cache  # its filter takes longer to make than a word to resample
def _resampler(rate_hz: int, new_rate_hz: int) -> Callable[["Tensor"], "Tensor"]:
    from torchaudio.transforms import Resample

    return Resample(rate_hz, new_rate_hz)
