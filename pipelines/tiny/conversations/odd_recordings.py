"""Recordings that hold no English digit: other words, other languages, music, noise, silence.

`TRAINED` and `HELD_OUT` sounds share no word, no voice and no instrument.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from pipelines.speech import flite
from pipelines.speech.augmentation import perturb, vary
from pipelines.speech.clips import BASE_VOICES, VOICE_VARIANTS, resampled
from pipelines.speech.espeak import Espeak
from pipelines.speech.joining import EDGE_S, LATE_SHARE, LONG_EDGE_S
from pipelines.speech.revoicing import revoiced
from pipelines.speech.word_lists import HELD_OUT_WORDS, TRAINING_WORDS
from pipelines.tiny.conversations.odd_pictures import STAMPS

RATE_HZ = 8000

_FLITE_SHARE = 0.3

SoundKind = Literal["words", "captions", "music", "noise"]

_LIKE_DIGITS = frozenset(
    [
        "ate",
        "eat",
        "for",
        "fore",
        "four",
        "form",
        "forth",
        "forty",
        "six",
        "sick",
        "seven",
        "several",
        "heaven",
        "even",
        "tree",
        "free",
        "three",
        "nine",
        "line",
        "mine",
        "wine",
        "won",
        "one",
        "two",
        "to",
        "too",
        "top",
        "eight",
        "great",
        "zero",
        "hero",
        "five",
        "fine",
        "fire",
        "hive",
        "dive",
    ]
)
_FOREIGN = (
    ("de", "guten Morgen wie geht es dir heute"),
    ("fr", "bonjour je voudrais du pain et du fromage"),
    ("es", "me gusta mucho la playa en verano"),
    ("it", "la mia casa ha un giardino grande"),
    ("cmn", "今天天气很好我们去公园吧"),
    ("ru", "добрый день как вас зовут"),
)
_FOREIGN_HELD_OUT = (("pt", "eu moro numa cidade pequena"), ("pl", "bardzo lubię czytać książki"))


@dataclass(frozen=True, kw_only=True)
class OddRecordings:
    """One side of the stock.

    Attributes:
        voices: of espeak-ng.
        words: in English.
        foreign: (voice, sentence).
        sounds: files of speech in other languages and of noises.
        is_held_out: which instruments and noises are played.
    """

    voices: tuple[str, ...]
    words: tuple[str, ...]
    foreign: tuple[tuple[str, str], ...]
    sounds: tuple[Path, ...]
    is_held_out: bool

    def draw(
        self, rng: np.random.Generator, *, kind: SoundKind | None = None, augment: bool = True
    ) -> np.ndarray:
        """Return `float32 [n]` at 8 kHz, peak below 1, at most five seconds."""
        if kind is None:
            shares = [0.4, 0.2 * bool(self.sounds), 0.2, 0.2]
            kinds: tuple[SoundKind, ...] = ("words", "captions", "music", "noise")
            kind = kinds[rng.choice(4, p=np.array(shares) / sum(shares))]
        match kind:
            case "words":
                samples = self._words(rng)
            case "captions":
                samples = _read(self.sounds[rng.integers(len(self.sounds))])
            case "music":
                samples = _music(rng, is_held_out=self.is_held_out)
            case _:
                samples = _noise(rng, is_held_out=self.is_held_out)
        samples = samples[: 5 * RATE_HZ]
        if augment and kind in ("words", "captions") and rng.random() < 0.4:
            formants, tempo = float(rng.uniform(0.84, 1.2)), float(rng.uniform(0.8, 1.25))
            samples = revoiced(samples, formants=formants, tempo=tempo)
        if augment and kind in ("words", "captions") and rng.random() < 0.6:
            samples = vary(samples, rng, speed=float(rng.uniform(0.85, 1.18)))
        if augment and kind != "noise" and rng.random() < 0.5:
            samples = perturb(samples, rng, min_noise=0.003, max_noise=0.1)
        is_late = augment and rng.random() < LATE_SHARE
        edge = np.zeros(int(rng.uniform(*(LONG_EDGE_S if is_late else EDGE_S)) * RATE_HZ))
        samples = np.concatenate([edge, samples, edge])
        peak = float(np.abs(samples).max()) if len(samples) else 0.0
        return (samples / max(1.0, peak / 0.95)).astype(np.float32)

    def _words(self, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.2:
            voice, text = self.foreign[rng.integers(len(self.foreign))]
        else:
            count = int(rng.choice([1, 2, 3, 4, 5], p=[0.45, 0.2, 0.15, 0.1, 0.1]))
            voice = self.voices[rng.integers(len(self.voices))]
            text = " ".join(rng.choice(self.words, count))
            if not self.is_held_out and rng.random() < _FLITE_SHARE and flite.is_installed():
                return _by_flite(text, rng)
        rate, pitch = int(rng.integers(110, 220)), int(rng.integers(15, 85))
        speech = Espeak().speak(text, voice=voice, words_per_minute=rate, pitch=pitch)
        return resampled(speech.samples, speech.sample_rate_hz, RATE_HZ)


def _by_flite(text: str, rng: np.random.Generator) -> np.ndarray:
    speech = flite.speak(
        text,
        voice=flite.VOICES[rng.integers(len(flite.VOICES))],
        stretch=float(rng.uniform(0.8, 1.4)),
        pitch_hz=float(rng.uniform(85, 230)),
    )
    return resampled(speech.samples, speech.sample_rate_hz, RATE_HZ)


def load_odd_recordings(*, is_held_out: bool = False, stamps: Path = STAMPS) -> OddRecordings:
    """Return one side of the stock; without the package of stamps there are no captions."""
    names = sorted({f"{base}+{v}".rstrip("+") for base in BASE_VOICES for v in VOICE_VARIANTS})
    sounds = [path for path in sorted(stamps.rglob("*.ogg")) if _is_held_out(path) == is_held_out]
    words = HELD_OUT_WORDS if is_held_out else TRAINING_WORDS
    return OddRecordings(
        voices=tuple(name for i, name in enumerate(names) if (i % 5 == 0) == is_held_out),
        words=tuple(word for word in words if word not in _LIKE_DIGITS),
        foreign=_FOREIGN_HELD_OUT if is_held_out else _FOREIGN,
        sounds=tuple(sounds),
        is_held_out=is_held_out,
    )


def _is_held_out(path: Path) -> bool:
    """All recordings of one stamp are on one side."""
    stem = path.stem.split("_desc")[0]
    return hashlib.sha256(stem.encode()).digest()[0] % 5 == 0


def _read(path: Path) -> np.ndarray:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return resampled(samples[: 6 * rate_hz].mean(1), rate_hz, RATE_HZ)


def _music(rng: np.random.Generator, *, is_held_out: bool) -> np.ndarray:
    """Return a melody or chords of plucked, blown or (held out) bowed notes."""
    notes, root = [], float(rng.uniform(110, 440))
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    for _ in range(rng.integers(2, 12)):
        seconds = float(rng.uniform(0.12, 0.6))
        times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
        chord = rng.choice(scale, int(rng.integers(1, 4)))
        note = sum(_note(root * 2 ** (step / 12), times, rng, is_held_out) for step in chord)
        notes.append(np.asarray(note))
    music = np.concatenate(notes)
    return music / (np.abs(music).max() + 1e-9) * float(rng.uniform(0.2, 0.9))


def _note(
    frequency: float, times: np.ndarray, rng: np.random.Generator, is_held_out: bool
) -> np.ndarray:
    if is_held_out:
        saw = 2 * ((frequency * times + 0.003 * np.sin(2 * np.pi * 5 * times)) % 1) - 1
        return saw * np.minimum(1, times * 20)
    if rng.random() < 0.4:
        return _reed(frequency, times, rng)
    harmonics = rng.uniform(0, 1, 6) / np.arange(1, 7)
    tone = sum(h * np.sin(2 * np.pi * frequency * (n + 1) * times) for n, h in enumerate(harmonics))
    fade = np.exp(-times * rng.uniform(0, 8)) * np.minimum(1, times * 100)
    return np.asarray(tone) * fade


def _reed(frequency: float, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a note of an organ or a bell: pulses, or a tone whose frequency another one moves."""
    rise = np.minimum(1, times * float(rng.uniform(8, 60)))
    sway = float(rng.uniform(0, 0.004)) * np.sin(2 * np.pi * float(rng.uniform(3, 8)) * times)
    phase = (frequency * times + sway) % 1
    if rng.random() < 0.5:
        return np.where(phase < float(rng.uniform(0.1, 0.5)), 1.0, -1.0) * rise
    ratio, depth = float(rng.choice([0.5, 1, 1.4, 2, 3])), float(rng.uniform(0.5, 4))
    moved = np.sin(2 * np.pi * phase + depth * np.sin(2 * np.pi * ratio * frequency * times))
    return np.asarray(moved * rise * np.exp(-times * float(rng.uniform(0, 6))))


def _noise(rng: np.random.Generator, *, is_held_out: bool) -> np.ndarray:
    """Return silence, hiss, hum, clicks, a sweep, or (held out) rain and a siren."""
    length = int(rng.uniform(0.3, 4) * RATE_HZ)
    times, loud = np.arange(length) / RATE_HZ, float(rng.uniform(0.01, 0.8))
    hiss = rng.standard_normal(length)
    if is_held_out:
        match rng.integers(3):
            case 0:
                return np.zeros(length)
            case 1:
                return loud * hiss * (rng.random(length) < 0.1)
        return loud * np.sin(2 * np.pi * (600 * times + 40 * np.sin(2 * np.pi * times)))
    match rng.integers(6):
        case 0:
            return np.zeros(length) if rng.random() < 0.5 else 0.001 * hiss
        case 1:
            return loud * hiss / 3
        case 2:
            spectrum = np.fft.rfft(hiss) / (np.arange(length // 2 + 1) + 5.0) ** rng.uniform(0.3, 1)
            pink = np.fft.irfft(spectrum, n=length)
            return loud * pink / np.abs(pink).max()
        case 3:
            hum = float(rng.choice([50, 60, 100, 120]))
            return (
                loud * (np.sin(2 * np.pi * hum * times) + 0.3 * np.sin(6 * np.pi * hum * times)) / 2
            )
        case 4:
            return loud * (rng.random(length) < 0.002) * np.sign(hiss)
    start, stop = rng.uniform(100, 3500, 2)
    return loud * np.sin(2 * np.pi * (start * times + (stop - start) * times**2 / (2 * times[-1])))
