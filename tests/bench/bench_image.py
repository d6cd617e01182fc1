"""Pictures end to end against the bare encoder, in one warm process.

Ours reads files, decodes one group ahead in a thread, and tokenises; small pictures go through the
front door, `encode_many`, which gives ids. The peer is the same encoder's forward pass on tensors
that are ready, with the same number of threads. `ratio` is peer time over our time: 1.0 would mean
that decoding, quantizing and everything else cost nothing.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from timing import Row, alternate

import dvse
from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image

_NUM_THREADS = 2


def rows() -> Iterator[Row]:
    """Yield ViT-S on photographs, `tiny` on small pictures and on 12-megapixel ones."""
    for case in CASES.values():
        yield from case()


def _measured(*cases: Callable[[Path], Row]) -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(_NUM_THREADS)
    try:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            for case in cases:
                yield case(Path(folder))
    finally:
        torch.set_num_threads(threads)


def _vit_small(folder: Path) -> Row:
    torch.manual_seed(0)
    encoder = ImageEncoder(EncoderConfig(name="vit_small_patch16_224"))
    tokenizer = ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(Codebook(torch.randn(1, 1024, encoder.dim))),
        geometry=SquareGeometry(size=224, patch_size=16),
    )
    paths = _jpegs(folder / "photos", count=20, width=500, height=375)
    rows = tokenizer.batch_rows((224, 224, 3))
    ready = torch.randn(len(paths), 3, 224, 224)
    pairs = alternate(
        lambda: _tokenize(tokenizer, paths, group=rows),
        lambda: encoder.backbone.forward_features(ready),
    )
    return _row("image.vit_small_500x375", pairs, len(paths), ">= 0.90", "forward, batch of 20")


def _tiny_small(folder: Path) -> Row:
    tokenizer = dvse.load("tiny", threads=_NUM_THREADS)
    tiny = tokenizer.image
    paths = _jpegs(folder / "small", count=512, width=32, height=32)
    batches = torch.randint(0, 256, (len(paths) // 64, 64, 32, 32, 3), dtype=torch.uint8)
    ready = [tiny.encoder.normalize(batch) for batch in batches]

    def forward() -> None:
        for batch in ready:
            tiny.encoder.features(batch)

    pairs = alternate(lambda: list(tokenizer.encode_many(map(Image, paths))), forward)
    return _row("image.tiny_32x32", pairs, len(paths), ">= 0.90", "forward, batches of 64")


def _tiny_large(folder: Path) -> Row:
    tiny = dvse.load("tiny").image
    paths = _jpegs(folder / "large", count=6, width=4000, height=3000)
    (chunk,) = tiny.preparer.prepare(Image(paths[0]))
    pixels = torch.from_numpy(np.stack([chunk.data] * tiny.batch_rows(chunk.shape)))

    def decode_then_forward() -> None:
        for path in paths:
            with PilImage.open(path) as picture:
                picture.convert("RGB")
        for _ in range(-(-len(paths) // len(pixels))):
            tiny.encoder(pixels)

    pairs = alternate(lambda: _tokenize(tiny, paths, group=2), decode_then_forward)
    return _row("image.tiny_12_megapixels", pairs, len(paths), ">= 0.8", "Pillow decode + forward")


def _tokenize(tokenizer: ImageTokenizer, paths: list[Path], *, group: int) -> int:
    groups = [paths[i : i + group] for i in range(0, len(paths), group)]

    def prepare(some: list[Path]) -> list[Chunk]:
        return [chunk for path in some for chunk in tokenizer.preparer.prepare(Image(path))]

    with ThreadPoolExecutor(1) as pool:
        return sum(len(codes) for c in pool.map(prepare, groups) for codes in tokenizer.encode(c))


def _jpegs(folder: Path, *, count: int, width: int, height: int) -> list[Path]:
    """Write pictures with detail at every scale, as photographs have."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        layers = np.zeros((height, width, 3), np.float32)
        for cells in (4, 16, 64):
            noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            layers += np.asarray(PilImage.fromarray(noise).resize((width, height)), np.float32)
        file = io.BytesIO()
        PilImage.fromarray((layers / 3).astype(np.uint8)).save(file, "JPEG", quality=90)
        paths.append(folder / f"{i}.jpg")
        paths[-1].write_bytes(file.getvalue())
    return paths


def _row(name: str, pairs, count: int, bar: str, peer: str) -> Row:  # type: ignore[no-untyped-def]
    return Row(
        name=name,
        ours=pairs.ours / count,
        peer=pairs.peer / count,
        ratio=pairs.speedup,
        bar=bar,
        unit="s/picture",
        note=f"peer: {peer}; {_NUM_THREADS} threads",
    )


CASES = {
    "vit_small": lambda: _measured(_vit_small),
    "tiny": lambda: _measured(_tiny_small, _tiny_large),
}
