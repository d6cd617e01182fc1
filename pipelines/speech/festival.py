"""Speech made by Festival, whose voices are cut out of recordings of people, or modelled on them.

Two Americans in diphones (`kal`, `ked`) and an American woman as hidden Markov models (`slt`). The
command `text2wave` is called, from Debian's packages `festival`, `festlex-cmu`, `festlex-poslex`,
`festvox-kallpc16k`, `festvox-kdlpc16k` and `festvox-us-slt-hts`. It refuses to know what the
speech is for.
"""

import functools
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from dvse.errors import MissingExtraError
from pipelines.speech.espeak import Speech

_INSTALL = (
    "apt-get install festival festlex-cmu festlex-poslex festvox-kallpc16k festvox-kdlpc16k "
    "festvox-us-slt-hts"
)
VOICES = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")


@functools.cache  # asking takes a third of a second
def installed_voices() -> tuple[str, ...]:
    """Return which of `VOICES` are there, none without Festival."""
    if shutil.which("festival") is None or shutil.which("text2wave") is None:
        return ()
    command = ["festival", "-b", '(format t "voices: %l\\n" (voice.list))']
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Without any it first warns of all that it looked for.
    there = re.findall(r"[^\s()]+", told.rpartition("voices:")[2])
    return tuple(voice for voice in VOICES if voice in there)


def speak(text: str, *, voice: str, stretch: float = 1.0) -> Speech:
    """Say `text`; neither phones nor words are told.

    Args:
        text: in English.
        voice: one of `VOICES`.
        stretch: of every sound's length; `cmu_us_slt_arctic_hts` keeps its own.

    Raises:
        MissingExtraError: Festival, this voice or its lexicon is not installed.
    """
    if voice not in installed_voices():
        raise MissingExtraError(
            f"Festival with its voice {voice!r} is not installed and the speech to train on is "
            f"made with it; install it with: {_INSTALL}"
        )
    settings = f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {stretch:.3f}))"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["text2wave", "-eval", settings, "-o", str(path)]
        told = subprocess.run(command, check=True, capture_output=True, input=text.encode())
        if not path.is_file() or not path.stat().st_size:  # it ends with 0 all the same
            why = told.stderr.decode(errors="replace").strip() or "it did not say why"
            raise MissingExtraError(
                f"Festival's voice {voice!r} said nothing: {why}; install what it needs with: "
                f"{_INSTALL}"
            )
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return Speech(
        samples=np.ascontiguousarray(samples.mean(1)), sample_rate_hz=rate_hz, phones=(), words=()
    )
