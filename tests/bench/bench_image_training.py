"""A training step of an image codebook against the same networks alone.

Ours is `pipelines.training.image.step`: pictures are shifted, mirrored and laid side by side,
quantized, rebuilt, checked, logged, and the optimizer steps. The peer runs the same encoder,
decoder and teacher forward and backward on tensors that are ready, and the same optimizer, without
quantizer, loading and logging. `ratio` is peer time over our time.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from timing import Row, alternate

from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.rotary_vit import rotary_options
from pipelines.runs.log import TrainingLog
from pipelines.training.image import loop
from pipelines.training.image.codec import CodecConfig, ImageCodec
from pipelines.training.image.loop import open_accelerator
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.settings import DecoderShape, ImageTrainingConfig, QuantizerConfig
from pipelines.training.image.step import take_step

_BATCH, _STEPS, _THREADS = 64, 4, 1


def rows() -> Iterator[Row]:
    """Yield pixel reconstruction at two sizes of network, and distillation."""
    for case in CASES.values():
        yield from case()


def _measured(name: str, *, dim: int, size: int, teacher: bool = False) -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        yield _step_row(name, dim=dim, size=size, teacher=teacher)
    finally:
        torch.set_num_threads(threads)


def _step_row(name: str, *, dim: int, size: int, teacher: bool) -> Row:
    config = ImageTrainingConfig(batch_size=_BATCH, mosaic_share=0.25)
    accelerator = open_accelerator(config, device="cpu")
    ours, peer = (_codec(dim, size, teacher) for _ in range(2))
    rng = np.random.default_rng(0)
    pictures = Pictures(
        pixels=rng.integers(0, 256, (_BATCH * _STEPS, size, size, 3), np.uint8),
        labels=None,
        label_names=(),
        num_unreadable=0,
        sha256="",
    )
    model, optimizer = accelerator.prepare(ours, loop.make_optimizer(ours, config))
    peer_optimizer = loop.make_optimizer(peer, config)
    order = rng.permutation(len(pictures))
    ready = [torch.from_numpy(pictures.pixels[rows]) for rows in np.array_split(order, _STEPS)]

    with tempfile.TemporaryDirectory() as folder:
        log = TrainingLog(Path(folder))

        def train() -> None:
            ours.train()
            for step, rows in enumerate(np.array_split(order, _STEPS)):
                losses = take_step(accelerator, model, optimizer, pictures, rows, config, step, 0.5)
                log.scalars(step, losses)

        def networks() -> None:
            peer.train()
            for pixels in ready:
                features = peer.encoder(pixels)
                rebuilt = peer.objective(features, pixels, peer.encoder)
                rebuilt.loss.backward()
                torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
                peer_optimizer.step()
                peer_optimizer.zero_grad(set_to_none=True)

        pairs = alternate(train, networks, pairs=5)
        log.close()
    return Row(
        name=f"image_training.{name}",
        ours=pairs.ours / _STEPS,
        peer=pairs.peer / _STEPS,
        ratio=pairs.speedup,
        bar=">= 0.90",
        unit="s/step",
        note=f"{_BATCH} pictures of {size}x{size}, width {dim}, 1,024 codes; peer: same networks "
        f"and optimizer, nothing else; {_THREADS} thread",
    )


def _codec(dim: int, size: int, with_teacher: bool) -> ImageCodec:
    torch.manual_seed(0)
    teacher = None
    if with_teacher:
        options = {"dynamic_img_size": True}
        teacher = ImageEncoder(EncoderConfig(name="vit_tiny_patch16_224", options=options)).eval()
        teacher.requires_grad_(False)
    codec = ImageCodec(
        CodecConfig(
            encoder=EncoderConfig(
                name="vit_small_patch16_rope_224",
                options=rotary_options(
                    img_size=size, patch_size=4, embed_dim=dim, depth=2, num_heads=4
                ),
                stem_widths=(32, 48),
            ),
            quantizer=QuantizerConfig(),
            decoder=DecoderShape(),
        ),
        teacher=teacher,
    )
    return codec.to(memory_format=torch.channels_last)


CASES = {
    "tiny": lambda: _measured("tiny", dim=128, size=32),
    "wide": lambda: _measured("wide", dim=384, size=32),
    "distilled": lambda: _measured("distilled", dim=128, size=32, teacher=True),
}
