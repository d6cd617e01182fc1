"""Hours of sound in bounded memory, and token independence at the size of published encoders."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.audio.encoder import AudioEncoder
from dvse.audio.preparer import AudioPreparer
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import FrameGrid, Windowing
from dvse.codebook import Codebook
from dvse.items import Audio

MEASURE = """
import resource, sys
from dvse.audio.preparer import AudioPreparer
from dvse.audio.windows import FrameGrid, Windowing
from dvse.items import Audio
preparer = AudioPreparer(sample_rate_hz=16000, grid=FrameGrid(stride=320, reach=400),
                         windowing=Windowing(window_frames=1500, hop_frames=1250))
list(preparer.prepare(Audio(sys.argv[1])))  # imports and tables
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frames, seconds = 0, 0.0
for chunk in preparer.prepare(Audio(sys.argv[2])):
    frames += chunk.keep[1] - chunk.keep[0]
    seconds += chunk.duration_s
print(frames, round(seconds, 3), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def write_noise(path: Path, seconds: int, rate_hz: int) -> None:
    rng = np.random.default_rng(0)
    block = (rng.uniform(-0.3, 0.3, rate_hz * 10) * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", samplerate=rate_hz, channels=1, subtype="PCM_16") as file:
        for _ in range(seconds // 10):
            file.write(block)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux")
@pytest.mark.parametrize(
    ("minutes", "rate_hz"),
    [
        (10, 16_000),
        pytest.param(180, 44_100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_a_long_recording_is_prepared_in_bounded_memory(
    tmp_path: Path, minutes: int, rate_hz: int
) -> None:
    write_noise(tmp_path / "short.wav", 120, rate_hz)
    write_noise(tmp_path / "long.wav", minutes * 60, rate_hz)
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "short.wav", tmp_path / "long.wav"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    frames, seconds, grown_kib = out.split()
    assert int(frames) == FrameGrid(stride=320, reach=400).num_frames(minutes * 60 * 16_000)
    assert float(seconds) == minutes * 60
    assert int(grown_kib) < 30_000


def test_decoding_stays_behind_the_consumer(tmp_path: Path) -> None:
    """The first chunk comes before the file has been read: nobody holds all of it."""
    write_noise(tmp_path / "long.wav", 300, 8_000)
    preparer = AudioPreparer(
        sample_rate_hz=8_000,
        grid=FrameGrid(stride=160, reach=288),
        windowing=Windowing(window_frames=500, hop_frames=400),
    )
    with (tmp_path / "long.wav").open("r+b") as file:
        chunks = preparer.prepare(Audio(tmp_path / "long.wav"))
        first = next(chunks)
        assert first.keep == (0, 450)
        # What lies far behind is changed now, and is seen when its turn comes.
        file.seek(-1_000_000, 2)
        file.write(bytes(1_000_000))
    assert max(np.abs(chunk.data).max() for chunk in list(chunks)[-3:]) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "config",
    [
        Wav2Vec2Config(),
        Wav2Vec2Config(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True),
    ],
    ids=["group norm", "layer norm"],
)
def test_real_architectures_give_the_same_codes_alone_and_in_company(
    config: Wav2Vec2Config,
) -> None:
    """Over 150,000 codes for each norm, so over 300,000 for both."""
    torch.manual_seed(0)
    encoder = AudioEncoder.of(Wav2Vec2Model(config), layer=6, normalize=True)
    codebook = Codebook(torch.randn(8, 500, encoder.dim))
    tokenizer = AudioTokenizer(
        encoder=encoder,
        codebook=codebook,
        sample_rate_hz=16_000,
        windowing=Windowing(window_frames=500, hop_frames=400),
    )
    rng = np.random.default_rng(0)
    chunks = [
        chunk
        for seconds in rng.uniform(0.3, 12, size=62)
        for chunk in tokenizer.preparer.prepare(
            Audio(rng.uniform(-0.5, 0.5, int(seconds * 16_000)), sample_rate_hz=16_000)
        )
    ]
    alone = [tokenizer.encode([chunk])[0] for chunk in chunks]
    order = rng.permutation(len(chunks))
    together = tokenizer.encode([chunks[i] for i in order])
    assert sum(codes.size for codes in alone) > 150_000
    for place, i in enumerate(order):
        np.testing.assert_array_equal(together[place], alone[i])
