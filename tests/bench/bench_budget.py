"""Rows of a forward pass: what another token budget would bring, and which bits it would change.

`ours` is the throughput of the bare encoder at a multiple of today's rows, `peer` today's, in turn;
`ratio` above 1 says that the budget of this device is too small. A second row gives the share of
features whose bits stay: where it is below 1, another budget is another profile. On CUDA where
there is a card, else on the processor, in float32.
"""

from collections.abc import Iterator
from typing import Any

import torch
from timing import Row, alternate

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.encoder import EncoderConfig as AudioConfig
from dvse.image.encoder import EncoderConfig as ImageConfig
from dvse.image.encoder import ImageEncoder
from dvse.image.tokenizer import _BATCH_TOKENS
from dvse.numerics import NumericsProfile

_FACTORS = (0.5, 2.0, 4.0)
_PAIRS = 5


def rows() -> Iterator[Row]:
    """Yield two rows an encoder and factor."""
    for case in CASES.values():
        yield from case()


@torch.inference_mode()
def _case(name: str, encoder: Any, inputs: torch.Tensor, rows_today: int) -> Iterator[Row]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder, inputs = encoder.eval().to(device), inputs.to(device)
    with NumericsProfile.current(device=device).pinned():
        for factor in _FACTORS:
            other = max(1, int(factor * rows_today))
            if other == rows_today:
                continue
            pairs = alternate(
                lambda rows=other: _run(encoder, inputs, rows),
                lambda: _run(encoder, inputs, rows_today),
                pairs=_PAIRS,
            )
            yield Row(
                name=f"budget.{name}.{factor:g}",
                ours=len(inputs) / pairs.ours,
                peer=len(inputs) / pairs.peer,
                ratio=pairs.speedup,
                unit="inputs/s",
                note=f"rows of {other}; peer: {rows_today}, {device}",
            )
            one, two = (_run(encoder, inputs, rows) for rows in (other, rows_today))
            yield Row(
                name=f"budget.{name}.{factor:g}.bits",
                ours=(one == two).float().mean().item(),
                unit="share of features",
                note=f"equal bit for bit in rows of {other} and {rows_today}, {device}",
            )


def _run(encoder: Any, inputs: torch.Tensor, rows: int) -> torch.Tensor:
    found = [encoder(inputs[start : start + rows]) for start in range(0, len(inputs), rows)]
    if inputs.device.type == "cuda":
        torch.cuda.synchronize()
    return torch.cat(found)


def _pictures(name: str) -> Iterator[Row]:
    torch.manual_seed(0)
    side, tokens = (32, 64) if name == "tiny" else (224, 196)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    rows_today = max(1, _BATCH_TOKENS[kind] // tokens)
    pixels = torch.randint(0, 256, (4 * rows_today, side, side, 3), dtype=torch.uint8)
    if name == "tiny":
        yield from _case(name, dvse.load("tiny").image.encoder, pixels, rows_today)
    else:
        encoder = ImageEncoder(ImageConfig(name=f"{name}_patch16_224"))
        yield from _case(name, encoder, pixels, rows_today)


def _speech() -> Iterator[Row]:
    torch.manual_seed(0)
    config = AudioConfig(architecture="wav2vec2", layer=12, normalize=True)
    encoder = AudioEncoder(config, config.build_frozen())
    # Windows of 5.1 s, 255 frames: one at a time on a processor, 47 on a card.
    rows_today = 47 if torch.cuda.is_available() else 1
    yield from _case("wav2vec2_base", encoder, torch.randn(4 * rows_today, 81_680), rows_today)


CASES = {
    "tiny": lambda: _pictures("tiny"),
    "vit_small": lambda: _pictures("vit_small"),
    "vit_base": lambda: _pictures("vit_base"),
    "wav2vec2_base": _speech,
}
