"""Speech made by Festival, whose voices are cut out of recordings of people, or modelled on them.

Two Americans in diphones (`kal`, `ked`) and an American woman as hidden Markov models (`slt`). The
command `text2wave` is called, from Debian's packages `festival`, `festvox-kallpc16k`,
`festvox-kdlpc16k` and `festvox-us-slt-hts`. It refuses to know what the speech is for.
"""

import functools
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from dvse.errors import MissingExtraError
from pipelines.speech.espeak import Speech

VOICES = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")


@functools.cache  # asking takes a third of a second
def installed_voices() -> tuple[str, ...]:
    """Return which of `VOICES` are there, none without Festival."""
    if shutil.which("festival") is None or shutil.which("text2wave") is None:
        return ()
    command = ["festival", "-b", "(print (voice.list))"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    there = listed.strip().strip("()").split()
    return tuple(voice for voice in VOICES if voice in there)


def speak(text: str, *, voice: str, stretch: float = 1.0) -> Speech:
    """Say `text`; neither phones nor words are told.

    Args:
        text: in English.
        voice: one of `VOICES`.
        stretch: of every sound's length; `cmu_us_slt_arctic_hts` keeps its own.

    Raises:
        MissingExtraError: Festival or this voice is not installed.
    """
    if voice not in installed_voices():
        raise MissingExtraError(
            f"Festival with its voice {voice!r} is not installed and the speech to train on is "
            "made with it; install it with: apt-get install festival festvox-kallpc16k "
            "festvox-kdlpc16k festvox-us-slt-hts"
        )
    settings = f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {stretch:.3f}))"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["text2wave", "-eval", settings, "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True, input=text.encode())
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return Speech(
        samples=np.ascontiguousarray(samples.mean(1)), sample_rate_hz=rate_hz, phones=(), words=()
    )
