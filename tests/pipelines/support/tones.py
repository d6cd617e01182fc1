"""Recordings made for tests."""

import io

import numpy as np
import soundfile


def tone(hz: float, container: str = "WAV") -> bytes:
    """Half a second of a tone."""
    times = np.arange(8000) / 16000
    file = io.BytesIO()
    soundfile.write(file, 0.4 * np.sin(2 * np.pi * hz * times), 16000, format=container)
    return file.getvalue()
