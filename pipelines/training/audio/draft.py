"""An audio tokenizer before it has a codebook: encoder, layer, windows."""

from typing import Any

from dvse.audio.encoder import AudioEncoder
from dvse.audio.hub_weights import HubWeights
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.storage.part import Part
from pipelines.training.audio.settings import UnitFeatures


def encoder_of(part: Part) -> Any:
    """Return the transformers model inside an audio part."""
    encoder = AudioTokenizer.from_spec(part.spec, part.folder).encoder
    model = encoder.config.build()
    model.load_state_dict(encoder.model.state_dict())
    return model


def draft_tokenizer(
    encoder: AudioEncoder,
    sample_rate_hz: int,
    settings: UnitFeatures,
    hub_weights: HubWeights | None,
    *,
    device: str = "cpu",
) -> AudioTokenizer:
    """Return a tokenizer without a codebook: what it embeds is clustered into one."""
    return AudioTokenizer(
        encoder=encoder,
        codebook=None,
        sample_rate_hz=sample_rate_hz,
        windowing=_windowing(settings, sample_rate_hz, encoder.grid.stride),
        merge_repeats=settings.merge_repeats,
        hub_weights=hub_weights,
        device=device,
    )


def _windowing(
    settings: UnitFeatures, sample_rate_hz: int, stride: int
) -> Windowing | SampleChunks:
    if settings.chunk_s is not None:
        return SampleChunks(chunk_samples=round(settings.chunk_s * sample_rate_hz))
    frame_s = stride / sample_rate_hz
    return Windowing(
        window_frames=round(settings.window_s / frame_s),
        hop_frames=round(settings.hop_s / frame_s),
    )
