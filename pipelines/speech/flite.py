"""Speech made by Flite, whose voices are cut out of recordings of people.

espeak-ng computes formants; these four speakers (Carnegie Mellon's `awb`, `kal`, `rms`, `slt`) have
a throat. The command is called, from Debian's package `flite`. It refuses to know what the speech
is for.
"""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from dvse.errors import MissingExtraError
from pipelines.speech.espeak import Speech

VOICES = ("awb", "kal", "rms", "slt")
"""A Scot, two Americans, an American woman; `awb`, `rms` and `slt` are of the CMU Arctic set."""


def is_installed() -> bool:
    """Whether the command is there."""
    return shutil.which("flite") is not None


def speak(text: str, *, voice: str, stretch: float = 1.0, pitch_hz: float | None = None) -> Speech:
    """Say `text`; neither phones nor words are told.

    Args:
        text: in English.
        voice: one of `VOICES`.
        stretch: of every sound's length.
        pitch_hz: middle height of the voice; its own where left out.

    Raises:
        MissingExtraError: the command is not installed.
    """
    if not is_installed():
        raise MissingExtraError(
            "flite is not installed and the speech to train on is made with it; install it with: "
            "apt-get install flite"
        )
    settings = ["--setf", f"duration_stretch={stretch}"]
    if pitch_hz is not None:
        settings += ["--setf", f"int_f0_target_mean={pitch_hz}"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, *settings, "-t", text, "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return Speech(
        samples=np.ascontiguousarray(samples.mean(1)), sample_rate_hz=rate_hz, phones=(), words=()
    )
