"""How many units windows change, against seconds of overlap: why the overlap is what it is.

Spoken digits of one speaker, joined to a long recording, in windows and encoded as a whole; `ours`
is the share of units that differ. HuBERT's two shapes have random weights, whose attention looks
at everything alike: what a trained encoder does is in the metrics of its own part. `tiny` is
trained. `published_chunk` cuts 120 s after 100, as fairseq does, where the others overlap. There is
no bar. The digits lie in `$DVSE_DATA/fsdd` (default: ../shared/data).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from timing import Row
from transformers import HubertConfig, HubertModel

import dvse
from dvse.audio.encoder import AudioEncoder, NormalizeOver
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.numerics import NumericsProfile
from pipelines.speech.clips import load_digits
from pipelines.training.audio.window_share import window_figures

_DATA = Path(os.environ.get("DVSE_DATA", "../shared/data")) / "fsdd"
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_NUM_CODES = 500


def rows() -> Iterator[Row]:
    """Yield a row for each encoder, way of scaling and overlap."""
    for case in CASES.values():
        yield from case()


def _hubert(name: str, options: dict, over: NormalizeOver | None) -> Iterator[Row]:
    torch.manual_seed(0)
    encoder = AudioEncoder.of(
        HubertModel(HubertConfig(**options)),
        layer=6,
        normalize=over is not None,
        normalize_over=over or "window",
    )
    speech = _speech(16_000, seconds=91)
    with NumericsProfile.current(threads=torch.get_num_threads()).pinned():
        features = encoder(torch.from_numpy(speech[: 16_000 * 20])[None])[0]
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    draft = AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(features[chosen[:_NUM_CODES]][None]),
        sample_rate_hz=16_000,
        windowing=Windowing(window_frames=1500, hop_frames=1500),
    )
    yield from _overlaps(name, draft, speech, (0.0, 1.0, 2.0, 5.0, 10.0))


def _tiny() -> Iterator[Row]:
    tiny = dvse.load("tiny").audio
    assert tiny is not None
    yield from _overlaps("tiny", tiny, _speech(8_000, seconds=16), (0.0, 0.1, 0.2, 0.32, 0.48, 0.8))


def _overlaps(
    name: str, tokenizer: AudioTokenizer, speech: np.ndarray, overlaps_s: tuple[float, ...]
) -> Iterator[Row]:
    windowing = tokenizer.preparer.windowing
    assert isinstance(windowing, Windowing)
    frames = windowing.window_frames
    for overlap_s in overlaps_s:
        hop = frames - round(overlap_s * tokenizer.frame_rate_hz)
        cut = tokenizer.with_windowing(Windowing(window_frames=frames, hop_frames=hop))
        with NumericsProfile.current(threads=torch.get_num_threads()).pinned():
            found = window_figures(cut, [speech])["long_recordings"]
        yield Row(
            name=f"windows.{name}.overlap_{overlap_s:g}_s",
            ours=found["window_share"],
            unit="share of units that differ",
            note=f"windows of {frames / tokenizer.frame_rate_hz:g} s; {found['units']} units of "
            f"{found['seconds_each']:g} s; {frames / hop:.2f} times the work",
        )


def _published_chunk() -> Iterator[Row]:
    """HuBERT-large as published, to its ninth layer: 100 s at once against all of 120 s at once."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    model = HubertModel(HubertConfig(**sizes, intermediate_size=4096, **_LAYER_NORM))
    encoder = AudioEncoder.of(model, layer=9, normalize=False)
    speech = torch.from_numpy(np.resize(_speech(16_000, seconds=91), 120 * 16_000))
    speech = (speech - speech.mean()) / torch.sqrt(speech.var(correction=0) + 1e-5)
    cut = 1_600_000
    with NumericsProfile.current(threads=torch.get_num_threads()).pinned():
        whole = encoder(speech[None])[0]
        pieces = [encoder(piece[None])[0] for piece in speech.split(cut)]
        chosen = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
        book = Codebook(whole[chosen[:_NUM_CODES]][None].clone())
        units, first, rest = (book.encode(part)[:, 0] for part in (whole, *pieces))
    begins = cut // encoder.grid.stride
    for name, found, wanted in (
        ("first_100_s", first, units[: len(first)]),
        ("last_20_s", rest, units[begins : begins + len(rest)]),
    ):
        yield Row(
            name=f"windows.hubert_large.published_chunk.{name}",
            ours=(found != wanted).float().mean().item(),
            unit="share of units that differ",
            note=f"of {len(found)}; {len(units) - len(first) - len(rest)} frame is lost at the cut",
        )


def _speech(rate_hz: int, *, seconds: int) -> np.ndarray:
    clips = load_digits(_DATA, "unknown", sample_rate_hz=rate_hz)
    joined = np.concatenate([clip.samples for clip in clips])
    assert len(joined) >= seconds * rate_hz
    return joined[: seconds * rate_hz]


CASES = {
    "hubert_base": lambda: _hubert("hubert_base", {}, None),
    "hubert_large_window": lambda: _hubert("hubert_large_shape.each_window", _LAYER_NORM, "window"),
    "hubert_large_recording": lambda: _hubert(
        "hubert_large_shape.whole_recording", _LAYER_NORM, "recording"
    ),
    "published_chunk": _published_chunk,
    "tiny": _tiny,
}
