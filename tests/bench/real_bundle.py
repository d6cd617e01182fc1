"""Real architectures with random weights, and recordings that sound like speech, for benchmarks."""

from pathlib import Path

import numpy as np
import torch

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.encoder import EncoderConfig as AudioConfig
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.image.encoder import EncoderConfig as ImageConfig
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.bundle import Section, write_bundle
from dvse.vocabulary import Vocabulary

RATE_HZ = 16_000


def speech_like(seconds: float, *, seed: int) -> np.ndarray:
    """Vowels (harmonics under moving formants) between stretches of noise, `[samples]`."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t)) / RATE_HZ
    wave = np.zeros_like(t)
    for formant in (500, 1500, 2500):
        centre = formant * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(1, 4) * t))
        for harmonic in range(1, 30):
            wave += np.sin(harmonic * pitch) * np.exp(-(((harmonic * 120 - centre) / 120) ** 2))
    wave *= np.sin(2 * np.pi * 2 * t) > -0.3  # syllables
    return 0.05 * wave + 0.01 * rng.standard_normal(len(t))


def real_bundle(folder: Path, size: str = "small") -> str:
    """ViT-S (or another size) and Wav2Vec2-base, random weights, with the text model of `tiny`."""
    torch.manual_seed(0)
    tiny = dvse.load("tiny")
    image_encoder = ImageEncoder(ImageConfig(name=f"vit_{size}_patch16_224"))
    image = ImageTokenizer(
        encoder=image_encoder,
        quantizer=CodebookQuantizer(Codebook(torch.randn(1, 1024, image_encoder.dim))),
        geometry=SquareGeometry(size=224, patch_size=16),
    )
    config = AudioConfig(architecture="wav2vec2", layer=12, normalize=True)
    audio_encoder = AudioEncoder(config, config.build())
    audio = AudioTokenizer(
        encoder=audio_encoder,
        codebook=_codebook_of(audio_encoder),
        sample_rate_hz=RATE_HZ,
        windowing=Windowing(window_frames=1000, hop_frames=900),
    )
    parts = {"text": tiny.text, "image": image, "audio": audio}
    for modality, part in parts.items():
        (folder / modality).mkdir(parents=True)
        part.save_files(folder / modality)
    vocabulary = Vocabulary.create(text_size=tiny.text.size, image=(1024, 1), audio=(500, 1))
    sections = {modality: Section(spec=part.spec()) for modality, part in parts.items()}
    write_bundle(folder, name="real", vocabulary=vocabulary, sections=sections)
    return str(folder)


@torch.inference_mode()
def _codebook_of(encoder: AudioEncoder) -> Codebook:
    """500 features of other recordings as centroids, as dense as features are."""
    wave = speech_like(20, seed=99).astype(np.float32)
    features = encoder(torch.from_numpy(wave)[None])[0]
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:500]
    return Codebook(features[chosen].clone()[None])
