"""What other token budgets of a forward pass would bring, and which codes they would change.

Each row is a budget that `dvse plan batches` tries, measured by it: `ours` its throughput, `peer`
that of the default, `ratio` above 1 where the default is slower. A last row an encoder says which
share of the sample's codes differs from those of the default, at most, among budgets that a job may
take. Encoders are `tiny`, ViT-S and ViT-B and Wav2Vec2-base with random weights, whose centroids
are features of other inputs, as dense as data. On a card where there is one, else on the processor.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from bench_image import _jpegs
from bench_precision import _bundle
from real_bundle import speech_like
from timing import Row

import dvse
from dvse.audio.windows import Windowing
from dvse.chunk import Chunk
from dvse.tokenizer import Tokenizer
from pipelines.job.batch_plan import plan_batches

_RATE_HZ = 16_000
_WINDOWS_OF_5_S = Windowing(window_frames=255, hop_frames=205)
_PICTURES, _SECONDS = 24, 60.0


def rows() -> Iterator[Row]:
    """Yield a row an encoder and budget, and one for the codes that change."""
    for case in CASES.values():
        yield from case()


def _case(name: str, tokenizer: Tokenizer, chunks: list[Chunk], media: object) -> Iterator[Row]:
    with tokenizer.profile.pinned():
        plan = plan_batches(media, chunks)
        codes = media.encode(chunks)
    assert plan is not None
    count = sum(one.size for one in codes)
    for one in plan.tried:
        if one.tokens_per_s:
            yield Row(
                name=f"budget.{name}.{one.batch_tokens}",
                ours=one.tokens_per_s,
                peer=plan.default.tokens_per_s,
                ratio=one.tokens_per_s / plan.default.tokens_per_s,
                unit="tokens/s",
                note=f"rows of {one.rows}; peer: the default's {plan.default.rows}; "
                f"{100 * one.kept:.2f} % of the codes stay, "
                f"{'fit for a job' if one.is_usable else 'neighbours change features'}, "
                f"{media.device}",
            )
    yield Row(
        name=f"budget.{name}.changed",
        ours=max(1 - one.kept for one in plan.tried if one.is_usable),
        unit="share of codes",
        note=f"of {count:,}, at most, among budgets that a job may take; {media.device}",
    )


def _loaded(bundle: str) -> Tokenizer:
    return dvse.load(bundle, device="cuda" if torch.cuda.is_available() else "cpu")


def _pictures(name: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = "tiny" if name == "tiny" else _bundle(folder / "bundle", vit=name)
        _jpegs(folder / "photos", count=_PICTURES, width=500, height=375)
        tokenizer = _loaded(bundle)
        chunks = [
            chunk
            for path in sorted((folder / "photos").iterdir())
            for chunk in tokenizer.image.preparer.prepare(dvse.Image(path))
        ]
        yield from _case(f"{name}_pictures", tokenizer, chunks, tokenizer.image)


def _speech(name: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        bundle = "tiny" if name == "tiny" else _bundle(Path(temporary) / "bundle", vit="vit_small")
        tokenizer = _loaded(bundle)
        media = tokenizer.audio
        if name != "tiny":
            media = media.with_windowing(_WINDOWS_OF_5_S)
        wave = speech_like(_SECONDS, seed=7).astype("float32")
        chunks = list(media.preparer.prepare(dvse.Audio(wave, sampling_rate=_RATE_HZ)))
        yield from _case(f"{name}_speech", tokenizer, chunks, media)


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "tiny_pictures": partial(_pictures, "tiny"),
    "vit_small": partial(_pictures, "vit_small"),
    "vit_base": partial(_pictures, "vit_base"),
    "tiny_speech": partial(_speech, "tiny"),
    "wav2vec2_base": partial(_speech, "wav2vec2_base"),
}
