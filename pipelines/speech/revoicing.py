"""Another speaker out of a recording: formants moved, the tempo changed, each by itself.

`pipelines.speech.augmentation.vary` plays faster or slower, by which pitch, formants and length
move together. Here the spectrum's envelope is stretched along the frequency axis, as a longer or
shorter vocal tract does (Jaitly and Hinton 2013, "Vocal Tract Length Perturbation improves speech
recognition"; the envelope is the cepstrum's low part), and a phase vocoder (Flanagan and Golden
1966) changes the length and nothing else.
"""

import numpy as np

_WIDTH, _HOP = 256, 64
_CEPSTRUM = 18  # coefficients of the envelope: at 8 kHz, below the period of a voice of 440 Hz


def revoiced(samples: np.ndarray, *, formants: float = 1.0, tempo: float = 1.0) -> np.ndarray:
    """Return speech at 8 kHz with other formants, in another tempo.

    Args:
        samples: `float32 [n]`.
        formants: by what their frequencies are multiplied; pitch stays.
        tempo: above 1 is faster; pitch and formants stay.

    >>> revoiced(np.zeros(800, np.float32), tempo=0.5).shape
    (1600,)
    """
    import torch

    if len(samples) < _WIDTH:
        return samples
    window = torch.hann_window(_WIDTH, dtype=torch.float64)
    given = torch.from_numpy(samples.astype(np.float64))
    frames = torch.stft(
        given, _WIDTH, _HOP, window=window, pad_mode="constant", return_complex=True
    ).numpy()  # [frequency, frame]
    magnitude = np.abs(frames) * _lift(np.abs(frames), formants)
    length = max(1, round(len(samples) / tempo))
    if tempo == 1.0:
        moved = magnitude * np.exp(1j * np.angle(frames))
    else:
        moved = _in_tempo(magnitude, np.angle(frames), 1 + -(-length // _HOP), tempo)
    said = torch.istft(torch.from_numpy(moved), _WIDTH, _HOP, window=window, length=length)
    return said.numpy().astype(np.float32)


def _lift(magnitude: np.ndarray, formants: float) -> np.ndarray:
    """Return what each frequency is multiplied by for the envelope to be stretched."""
    logarithm = np.log(magnitude + 1e-5)
    cepstrum = np.fft.irfft(logarithm, axis=0)
    cepstrum[_CEPSTRUM : 1 - _CEPSTRUM] = 0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    bins = np.arange(len(envelope))
    source = np.minimum(bins / formants, len(envelope) - 1)
    low = np.minimum(source.astype(int), len(envelope) - 2)
    share = (source - low)[:, None]
    stretched = (1 - share) * envelope[low] + share * envelope[low + 1]
    return np.exp(np.clip(stretched - envelope, -4, 4))


def _in_tempo(
    magnitude: np.ndarray, phase: np.ndarray, num_frames: int, tempo: float
) -> np.ndarray:
    """Return frames of another number, whose phases go on as those of the recording do."""
    times = np.minimum(np.arange(num_frames) * tempo, magnitude.shape[1] - 1.001)
    low = np.maximum(times, 0).astype(int)
    share = times - low
    at = (1 - share) * magnitude[:, low] + share * magnitude[:, low + 1]
    expected = 2 * np.pi * np.arange(len(magnitude))[:, None] * _HOP / _WIDTH
    step = np.diff(phase, axis=1) - expected
    step = expected + step - 2 * np.pi * np.round(step / (2 * np.pi))
    turned = phase[:, :1] + np.cumsum(step[:, low], axis=1) - step[:, :1]
    return np.asarray(at * np.exp(1j * turned))
