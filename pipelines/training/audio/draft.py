"""An audio tokenizer before it has a codebook: encoder, layer, windows; then with one."""

from typing import Any

import torch

from dvse.audio.encoder import AudioEncoder
from dvse.audio.hub_weights import HubWeights
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.storage.part import Part
from pipelines.training.audio.settings import UnitSettings


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
