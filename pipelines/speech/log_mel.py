"""Log-mel frames: the plain features that learnt units are measured against."""

import numpy as np
import torch
from torchaudio.transforms import MelSpectrogram


class LogMel:
    """Mean-normalised log-mel frames of a recording, one for each frame of an encoder.

    Windows of 25 ms, 80 bands (40 at 8 kHz), natural logarithm, the mean of each band over the
    recording taken off.

    Args:
        sample_rate_hz: of the recordings.
        stride, reach: of the encoder; frame i is centred where the encoder's frame i is.

    >>> LogMel(sample_rate_hz=8000, stride=160, reach=288)(np.zeros(8000, np.float32)).shape
    (49, 40)
    """

    def __init__(self, *, sample_rate_hz: int, stride: int, reach: int) -> None:
        self._stride, self._reach = stride, reach
        window = round(0.025 * sample_rate_hz)
        self._fft_size = max(512, window)
        self._mel = MelSpectrogram(
            sample_rate=sample_rate_hz,
            n_fft=self._fft_size,
            win_length=window,
            hop_length=stride,
            n_mels=40 if sample_rate_hz <= 8000 else 80,
            center=False,
        )

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 `[frames, bands]` of mono float32 samples `[n]`."""
        num_frames = (len(samples) - self._reach) // self._stride + 1
        # Frame i of the encoder is centred on sample i * stride + reach / 2.
        half = self._fft_size // 2
        around = np.pad(samples, half)[self._reach // 2 :]
        energies = self._mel(torch.from_numpy(np.ascontiguousarray(around)))[:, :num_frames]
        logs = torch.log(energies + 1e-6).numpy().T
        return (logs - logs.mean(0)).astype(np.float32)
