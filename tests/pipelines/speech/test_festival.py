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


FESTIVAL = """#!/bin/sh
echo '"Could not find any of these voices:"'
echo '(kal_diphone ked_diphone)'
echo 'voices: {listed}'
"""


def commands(folder, monkeypatch, *, listed, text2wave="exit 0"):
    """Put commands that print and do as much in place of Festival's own."""
    for name, program in (
        ("festival", FESTIVAL.format(listed=listed)),
        ("text2wave", f"#!/bin/sh\n{text2wave}\n"),
    ):
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def _asked_anew():
    festival.installed_voices.cache_clear()
    yield
    festival.installed_voices.cache_clear()


@pytest.mark.usefixtures("_asked_anew")
@pytest.mark.parametrize(
    ("listed", "there"),
    [("nil", ()), ("(ked_diphone kal_diphone other)", ("kal_diphone", "ked_diphone"))],
)
def test_a_voice_that_festival_warns_of_is_none(tmp_path, monkeypatch, listed, there):
    """Debian's `festival` by itself names voices in a warning and has none."""
    commands(tmp_path, monkeypatch, listed=listed)
    assert festival.installed_voices() == there


@pytest.mark.usefixtures("_asked_anew")
def test_a_voice_that_says_nothing_is_one_sentence(tmp_path, monkeypatch):
    commands(tmp_path, monkeypatch, listed="(kal_diphone)", text2wave="echo no lexicon >&2")
    with pytest.raises(
        MissingExtraError, match=r"said nothing: no lexicon; install .* festlex-cmu"
    ):
        festival.speak("one", voice="kal_diphone")


@pytest.mark.usefixtures("_asked_anew")
def test_without_the_command_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match="apt-get install festival"):
        festival.speak("one", voice="kal_diphone")
