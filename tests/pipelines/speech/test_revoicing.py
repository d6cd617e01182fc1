"""Another throat, another tempo: what moves and what stays, by the spectrum of a made vowel."""

import numpy as np
import pytest
from scipy.signal import lfilter

from pipelines.speech.revoicing import revoiced

RATE = 8000


def vowel(pitch_hz=125.0, formant_hz=1000.0):
    pulses = np.zeros(RATE)
    pulses[:: round(RATE / pitch_hz)] = 1
    radius = np.exp(-np.pi * 120 / RATE)
    angle = 2 * np.pi * formant_hz / RATE
    sound = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], pulses)
    return (sound / np.abs(sound).max()).astype(np.float32)


def middle(samples):
    return samples[len(samples) // 4 : 3 * len(samples) // 4]


def pitch_hz(samples):
    part = middle(samples)
    alike = np.correlate(part, part, "full")[len(part) :]
    return RATE / (20 + 1 + np.argmax(alike[20:200]))


def formant_hz(samples):
    """Where the power of the harmonics has its middle, which one resonance decides."""
    part = middle(samples)
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    frequencies = np.fft.rfftfreq(len(part), 1 / RATE)
    near = (frequencies > 400) & (frequencies < 1800)
    return (power[near] * frequencies[near]).sum() / power[near].sum()


def test_nothing_changes_where_nothing_is_asked():
    assert revoiced(vowel()) == pytest.approx(vowel(), abs=1e-6)


@pytest.mark.parametrize("formants", [0.85, 1.2])
def test_formants_move_and_pitch_and_length_stay(formants):
    found = revoiced(vowel(), formants=formants)
    assert len(found) == RATE
    assert pitch_hz(found) == pytest.approx(125, rel=0.02)
    assert formant_hz(found) == pytest.approx(1000 * formants, rel=0.08)


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_the_tempo_changes_the_length_alone(tempo):
    found = revoiced(vowel(), tempo=tempo)
    assert len(found) == round(RATE / tempo)
    assert pitch_hz(found) == pytest.approx(125, rel=0.02)
    assert formant_hz(found) == pytest.approx(formant_hz(vowel()), rel=0.05)


def test_what_is_shorter_than_a_window_comes_back():
    click = np.ones(100, np.float32)
    assert revoiced(click, tempo=2) is click
