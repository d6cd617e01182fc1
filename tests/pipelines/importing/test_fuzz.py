"""Damaged sources of every importer: one of our errors that names the source, nothing written.

Bytes are flipped, cut and doubled where structure lies (headers, directories of archives), and
values of configurations are exchanged for others; what still opens may become a part.
"""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    DacConfig,
    DacModel,
    HubertConfig,
    HubertModel,
    JanusVQVAE,
    JanusVQVAEConfig,
)

from dvse.errors import DvseError
from dvse.storage.finding import find_bundle
from pipelines.importing.codec import import_codec
from pipelines.importing.encoder import EncoderFacts, import_encoder
from pipelines.importing.image import import_image
from pipelines.importing.image_settings import ImageSettings
from pipelines.importing.text import import_text
from pipelines.importing.units import UnitSettings, import_units

HUBERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 8],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
DAC = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 4],
    "decoder_hidden_size": 16,
    "n_codebooks": 2,
    "codebook_size": 8,
    "codebook_dim": 4,
}
JANUS = {
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_res_blocks": 1,
    "latent_channels": 8,
    "embed_dim": 4,
    "num_embeddings": 16,
}
SQUARE = ImageSettings(resize=16, size=16, resample="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
SAID = UnitSettings(
    normalize=False, final_norm=True, pad_samples=0, chunk_s=1.0, merge_repeats=False
)


def titok():
    tensors = {
        "latent_tokens": torch.randn(2, 16),
        "encoder.latent_token_positional_embedding": torch.randn(2, 16),
        "encoder.class_embedding": torch.randn(1, 16),
        "encoder.positional_embedding": torch.randn(5, 16),
        "encoder.patch_embed.weight": torch.randn(16, 3, 8, 8),
        "encoder.patch_embed.bias": torch.randn(16),
        "encoder.conv_out.weight": torch.randn(3, 16, 1, 1),
        "encoder.conv_out.bias": torch.randn(3),
        "decoder.decoder_embed.weight": torch.randn(16, 3),
        "decoder.decoder_embed.bias": torch.randn(16),
        "decoder.mask_token": torch.randn(1, 1, 16),
        "decoder.class_embedding": torch.randn(1, 16),
        "decoder.positional_embedding": torch.randn(5, 16),
        "decoder.latent_token_positional_embedding": torch.randn(2, 16),
        "decoder.ffn.0.weight": torch.randn(3 * 8 * 8, 16, 1, 1),
        "decoder.ffn.0.bias": torch.randn(3 * 8 * 8),
        "decoder.conv_out.weight": torch.randn(3, 3, 3, 3),
        "decoder.conv_out.bias": torch.randn(3),
        "quantize.embedding.weight": torch.randn(8, 3),
    }
    for name in ("encoder.ln_pre", "encoder.ln_post", "decoder.ln_pre", "decoder.ln_post"):
        tensors |= {f"{name}.{end}": torch.randn(16) for end in ("weight", "bias")}
    return tensors


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A source of each importer: folder, the files that are damaged, and how it is taken in."""
    work = tmp_path_factory.mktemp("sources")
    torch.manual_seed(0)
    DacModel(DacConfig(**DAC)).save_pretrained(work / "codec")
    HubertModel(HubertConfig(**HUBERT)).save_pretrained(work / "encoder")
    JanusVQVAE(JanusVQVAEConfig(**JANUS)).save_pretrained(work / "vq")
    for name in ("titok", "text", "units", "torch"):
        (work / name).mkdir()
    save_file(titok(), work / "titok" / "model.safetensors")
    (work / "titok" / "config.json").write_text(
        json.dumps({"model": {"vq_model": {"use_l2_norm": True}}})
    )
    torch.save(titok(), work / "torch" / "titok.bin")
    (work / "text" / "spiece.model").write_bytes(
        (find_bundle("tiny") / "text" / "spiece.model").read_bytes()
    )
    np.save(work / "units" / "centroids.npy", np.zeros((4, 16), np.float32))
    return work


def take_in(kind, folder, encoder, output):
    if kind == "codec":
        import_codec(folder, output, num_levels=1, chunk_s=1.0)
    elif kind == "encoder":
        import_encoder(folder, output, facts=EncoderFacts(normalize=False))
    elif kind == "vq":
        import_image(folder, output, settings=SQUARE)
    elif kind == "titok":
        import_image(folder, output, settings=ImageSettings(num_heads=2))
    elif kind == "torch":
        settings = ImageSettings(num_heads=2, metric="cosine")
        import_image(folder / "titok.bin", output, settings=settings)
    elif kind == "text":
        import_text(folder / "spiece.model", output)
    else:
        import_units(
            output, centroids=folder / "centroids.npy", encoder=encoder, layer=1, settings=SAID
        )


def damaged(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        size = max(1, len(data))
        near = min(size, 600)
        at = rng.choice([rng.randrange(near), size - 1 - rng.randrange(near), rng.randrange(size)])
        how = rng.randrange(4)
        if how == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            del data[at : at + rng.randint(1, 60)]
        elif how == 2:
            data[at:at] = data[at : at + rng.randint(1, 60)]
        else:
            data = data[: rng.randrange(size)]
    return bytes(data)


def changed(value, rng):
    """Another value in one place of a configuration."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        return {**value, name: changed(value[name], rng)}
    return rng.choice([None, -1, 0, 3, 1e9, "x", [], {}, [1, "a"], True, 7.5])


@pytest.mark.parametrize(
    ("kind", "rounds"),
    [("codec", 40), ("encoder", 40), ("vq", 30), ("titok", 60), ("torch", 60), ("text", 40),
     ("units", 40)],
)  # fmt: skip
def test_damaged_files(sources, tmp_path, kind, rounds):
    rng = random.Random(1)
    files = {path.name: path.read_bytes() for path in sorted((sources / kind).iterdir())}
    names = [name for name in files if not name.endswith(".md")]
    failed = 0
    for number in range(rounds):
        folder = tmp_path / f"source-{number}"
        folder.mkdir()
        wrong = rng.choice(names)
        for name, data in files.items():
            (folder / name).write_bytes(damaged(data, rng) if name == wrong else data)
        output = tmp_path / f"part-{number}"
        try:
            take_in(kind, folder, sources / "encoder", output)
        except DvseError as error:
            failed += 1
            assert folder.name in str(error) or "centroids" in str(error)
            assert "\n" not in str(error)
            assert not output.exists()
        assert not list(tmp_path.glob(".part*"))
    assert failed > rounds / 4


@pytest.mark.parametrize("kind", ["codec", "encoder", "vq", "titok"])
def test_odd_configurations(sources, tmp_path, kind):
    rng = random.Random(2)
    config = json.loads((sources / kind / "config.json").read_text())
    folder = tmp_path / "source"
    folder.mkdir()
    for path in (sources / kind).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for number in range(40):
        (folder / "config.json").write_text(json.dumps(changed(config, rng)))
        output = tmp_path / f"part-{number}"
        try:
            take_in(kind, folder, sources / "encoder", output)
        except DvseError as error:
            assert "\n" not in str(error)
            assert not output.exists()
        assert not list(tmp_path.glob(".part*"))
