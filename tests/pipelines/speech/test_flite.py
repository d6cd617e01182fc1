"""Speech of Flite, where it is installed, and what is said where it is not."""

import numpy as np
import pytest

from dvse.errors import MissingExtraError
from pipelines.speech import flite


@pytest.mark.skipif(not flite.is_installed(), reason="flite is not installed")
@pytest.mark.parametrize("voice", flite.VOICES)
def test_each_voice_says_a_digit_longer_if_asked(voice):
    short, long = (flite.speak("seven", voice=voice, stretch=s, pitch_hz=120) for s in (0.8, 1.4))
    assert short.samples.dtype == np.float32 and np.abs(short.samples).max() > 0.05
    assert len(long.samples) > 1.3 * len(short.samples)
    assert 0.2 < len(short.samples) / short.sample_rate_hz < 1.5


def test_without_the_command_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match="apt-get install flite"):
        flite.speak("one", voice="slt")
