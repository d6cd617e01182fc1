"""The graph of recordings, run by torch: the tokenizer's codes; and resampling without torch."""

import numpy as np
import pytest
import torch

import dvse
from dvse.audio.code_graph import RecordingCodes
from dvse.audio.resampling import resample_stream
from dvse.chunk import Chunk
from dvse.errors import ConfigError


def test_codes_of_recordings():
    audio = dvse.load("tiny", threads=1).audio
    graph = RecordingCodes(audio).eval()
    assert not any("parametrizations" in name for name, _ in graph.named_parameters())
    draws = np.random.default_rng(0)
    for length in (3000, 10_240):
        samples = draws.normal(0, 0.1, length).astype(np.float32)
        with torch.no_grad():
            found = graph(torch.from_numpy(samples)[None])[0]
        (wanted,) = audio.encode([Chunk(modality="audio", data=samples)])
        assert np.array_equal(found.numpy(), wanted)


def test_a_codec_has_no_graph():
    with pytest.raises(ConfigError, match="neural codecs"):
        RecordingCodes(object())


@pytest.mark.parametrize(
    ("rate_hz", "new_rate_hz"), [(44_100, 8000), (16_000, 8000), (8000, 16_000)]
)
def test_resampling_by_numpy_is_torchaudios(rate_hz, new_rate_hz):
    draws = np.random.default_rng(0)
    sound = draws.normal(0, 0.2, 50_000).astype(np.float32)
    blocks = np.array_split(sound, 9)
    found, wanted = (
        np.concatenate(list(resample_stream(blocks, rate_hz, new_rate_hz, by)))
        for by in ("numpy", "torchaudio")
    )
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert abs(found - wanted).max() < 2e-6
