"""How many codes change from one numerics profile to another: why the profile is pinned.

The same files, the same bundle; one side computes with one thread, the other with two (or on a CUDA
device where there is one). `ours` is the share of codes that differ. Features move in their last
bits; a code changes only where two centroids are about equally near. There is no bar: within one
profile the share is zero, which `tests/dvse/test_token_independence.py` proves.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from timing import Row
from transformers import Wav2Vec2Config, Wav2Vec2Model

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Audio, Image, Item
from dvse.media_tokenizer import MediaTokenizer
from dvse.numerics import NumericsProfile

_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def rows() -> Iterator[Row]:
    """Yield two rows a tokenizer: 1 against 2 threads, and CPU against CUDA where there is one."""
    tiny = dvse.load("tiny")
    cases: list[tuple[str, MediaTokenizer, list[Item]]] = [
        ("tiny_image", tiny.image, _pictures(300, 32)),
        ("tiny_audio", tiny.audio, _recordings(60, 8_000)),
        ("vit_small", _vit_small(), _pictures(30, 224)),
        ("wav2vec2_group_norm", _wav2vec2({}), _recordings(8, 16_000)),
        ("wav2vec2_layer_norm", _wav2vec2(_LAYER_NORM), _recordings(8, 16_000)),
    ]
    for name, media, items in cases:
        one, two = (_codes(media, items, threads=threads) for threads in (1, 2))
        yield _row(f"profiles.{name}.threads", one, two, "1 against 2 threads")
        if torch.cuda.is_available():
            moved = _codes(_on_cuda(media), items, threads=1, device="cuda")
            yield _row(f"profiles.{name}.cuda", one, moved, "cpu, 1 thread, against cuda")


def _codes(
    media: MediaTokenizer, items: list[Item], *, threads: int, device: str = "cpu"
) -> np.ndarray:
    chunks = [chunk for item in items for chunk in media.preparer.prepare(item)]
    with NumericsProfile.current(device=device, threads=threads).pinned():
        return np.concatenate(media.encode(chunks))


def _row(name: str, one: np.ndarray, two: np.ndarray, note: str) -> Row:
    return Row(
        name=name,
        ours=float((one != two).mean()),
        unit="share of codes that change",
        note=f"{note}; {one.size} codes",
    )


def _on_cuda(media: Any) -> Any:
    """Move a tokenizer by way of its own files."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        media.save_files(Path(folder))
        return type(media).from_spec(media.spec(), Path(folder), device="cuda")


def _vit_small() -> ImageTokenizer:
    torch.manual_seed(0)
    encoder = ImageEncoder(EncoderConfig(name="vit_small_patch16_224"))
    geometry = SquareGeometry(size=224, patch_size=16)
    draft = ImageTokenizer(encoder=encoder, quantizer=None, geometry=geometry)
    quantizer = CodebookQuantizer(_codebook(draft, _pictures(5, 224, seed=1)))
    return ImageTokenizer(encoder=encoder, quantizer=quantizer, geometry=geometry)


def _wav2vec2(options: dict[str, Any]) -> AudioTokenizer:
    torch.manual_seed(0)
    encoder = AudioEncoder.of(Wav2Vec2Model(Wav2Vec2Config(**options)), layer=6, normalize=True)
    draft = AudioTokenizer(
        encoder=encoder,
        codebook=None,
        sample_rate_hz=16_000,
        windowing=Windowing(window_frames=500, hop_frames=400),
    )
    return draft.with_codebook(_codebook(draft, _recordings(3, 16_000, seed=1)))


def _codebook(media: Any, items: list[Item]) -> Codebook:
    """500 features of other files as centroids, so that the codes in use are as dense as data."""
    chunks = [chunk for item in items for chunk in media.preparer.prepare(item)]
    with NumericsProfile.current(threads=1).pinned():
        features = torch.from_numpy(np.concatenate(media.embed(chunks)))
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:500]
    return Codebook(features[chosen][None])


def _pictures(count: int, size: int, *, seed: int = 0) -> list[Item]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return [Image(np.kron(c, np.ones((size // 8, size // 8, 1), np.uint8))) for c in coarse]


def _recordings(count: int, rate: int, *, seed: int = 0) -> list[Item]:
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    for _ in range(count):
        t = np.arange(int(rng.uniform(2, 12) * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(90, 400) * t) * np.abs(np.sin(3 * t))
        items.append(Audio((wave + rng.normal(0, 0.03, len(t))).astype(np.float32), rate))
    return items
