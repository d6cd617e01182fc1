"""A small HuBERT with random weights, and recordings beside what is none."""

from pathlib import Path

import numpy as np
import soundfile
import torch


def save_small_hubert(folder: Path) -> Path:
    """Save it as transformers does; the same weights each time."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    HubertModel(
        HubertConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            conv_dim=(8, 8, 8),
            conv_kernel=(10, 8, 8),
            conv_stride=(5, 8, 8),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
        )
    ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_recordings(folder: Path) -> Path:
    """Write two recordings of different rates, one in a folder inside, and two other files."""
    rng = np.random.default_rng(0)
    (folder / "inner").mkdir(parents=True)
    soundfile.write(folder / "a.wav", rng.uniform(-0.5, 0.5, 30_000), 16_000)
    soundfile.write(folder / "inner" / "b.flac", rng.uniform(-0.5, 0.5, 30_000), 44_100)
    (folder / "broken.ogg").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no recording")
    return folder
