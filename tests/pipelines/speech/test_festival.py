"""Speech of Festival, where it is installed, and what is said where it is not."""

import numpy as np
import pytest

from dvse.errors import MissingExtraError
from pipelines.speech import festival


@pytest.mark.skipif(not festival.installed_voices(), reason="Festival is not installed")
@pytest.mark.parametrize("voice", festival.VOICES)
def test_each_voice_says_a_digit_longer_if_asked(voice):
    if voice not in festival.installed_voices():
        pytest.skip(f"the voice {voice} is not installed")
    short, long = (festival.speak("seven", voice=voice, stretch=s) for s in (0.8, 1.4))
    assert short.samples.dtype == np.float32 and np.abs(short.samples).max() > 0.05
    if voice != "cmu_us_slt_arctic_hts":
        assert len(long.samples) > 1.3 * len(short.samples)
    assert 0.2 < len(short.samples) / short.sample_rate_hz < 1.5


def test_without_the_command_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    festival.installed_voices.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match="apt-get install festival"):
            festival.speak("one", voice="kal_diphone")
    finally:
        festival.installed_voices.cache_clear()
