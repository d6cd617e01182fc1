"""An audio tokenizer before it has a codebook: encoder, layer, windows; then with one."""

from dataclasses import dataclass
from typing import Any

import torch

from dvse.audio.encoder import AudioEncoder
from dvse.audio.hub_weights import HubWeights
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.storage.part import Part


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """Settings of the units.

    Attributes:
        layer: hidden layer to cluster, see `dvse.audio.encoder.EncoderConfig`.
        num_codes: size of the codebook.
        max_frames: bound of the sample that k-means holds in memory.
        window_s, hop_s: windows over long recordings, see `dvse.audio.windows`.
        merge_repeats: make one unit of a run of equal ones.
        seed: of the sample and of k-means.
    """

    layer: int
    num_codes: int
    max_frames: int = 100_000
    window_s: float = 30.0
    hop_s: float = 25.0
    merge_repeats: bool = False
    seed: int = 0


def encoder_of(part: Part) -> Any:
    """Return the transformers model inside an audio part."""
    return AudioTokenizer.from_spec(part.spec, part.folder).encoder.model


def draft_tokenizer(
    encoder: AudioEncoder,
    sample_rate_hz: int,
    settings: UnitSettings,
    hub_weights: HubWeights | None,
) -> AudioTokenizer:
    """Return a tokenizer whose codebook says nothing yet: its `embed` is what is clustered."""
    frame_s = encoder.grid.stride / sample_rate_hz
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(torch.zeros(1, 1, encoder.dim)),
        sample_rate_hz=sample_rate_hz,
        windowing=Windowing(
            window_frames=round(settings.window_s / frame_s),
            hop_frames=round(settings.hop_s / frame_s),
        ),
        merge_repeats=settings.merge_repeats,
        hub_weights=hub_weights,
    )


def with_codebook(draft: AudioTokenizer, codebook: Codebook) -> AudioTokenizer:
    """Return the draft with a codebook, all else as it is."""
    return AudioTokenizer(
        encoder=draft.encoder,
        codebook=codebook,
        sample_rate_hz=draft.sample_rate_hz,
        windowing=draft.preparer.windowing,
        merge_repeats=draft.merge_repeats,
        pad_samples=draft.preparer.pad_samples,
        hub_weights=draft.hub_weights,
    )
