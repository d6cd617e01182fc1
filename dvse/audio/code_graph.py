"""Samples to codes as one graph: scaling, encoder and nearest-code search."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dvse.audio.encoder import AudioEncoder
from dvse.audio.tokenizer import AudioTokenizer
from dvse.codebook_graph import CodebookGraph
from dvse.errors import ConfigError
from dvse.precision import compute_weights


class RecordingCodes(nn.Module):
    """Samples `fp32 [N, n]` without padding to codes `int32 [N, frames, num_levels]`, to be traced.

    Args:
        tokenizer: in fp32, on a CPU; it is copied.

    Raises:
        ConfigError: a draft, or a codec, whose codes are not those of a codebook behind an encoder.
    """

    input_names = ("samples",)
    output_names = ("codes",)

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        is_units = isinstance(tokenizer, AudioTokenizer)
        if not is_units or not isinstance(tokenizer.encoder, AudioEncoder):
            raise ConfigError(
                "expected speech units (an encoder and a codebook); graphs of neural codecs are "
                "not made here, use torch for this bundle's recordings"
            )
        if tokenizer.codebook is None:
            raise ConfigError("expected a sound tokenizer with codes, received a draft")
        self.encoder = copy.deepcopy(tokenizer.encoder)
        compute_weights(self.encoder)
        self.search = CodebookGraph(tokenizer.codebook)
        self.grid = tokenizer.preparer.grid
        self.max_frames = tokenizer.preparer.windowing.full_frames(self.grid)

    def forward(self, samples: Tensor) -> Tensor:
        """Return the codes of each frame."""
        config = self.encoder.config
        if config.normalize and config.normalize_over == "window":
            # As `AudioEncoder` does it, by operators that every runtime has.
            centred = samples - samples.mean(dim=-1, keepdim=True)
            variance = (centred * centred).mean(dim=-1, keepdim=True)
            samples = centred / torch.sqrt(variance + config.variance_floor)
        features = self.encoder.model(samples).last_hidden_state
        codes = self.search(features.reshape(-1, features.shape[-1]))
        return codes.reshape(features.shape[0], -1, codes.shape[-1]).int()

    def sample(self) -> tuple[Any, ...]:
        """Return two short recordings."""
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(2, self.grid.num_samples(11), generator=generator),)

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Return which sizes of `sample` are free: the number of recordings and their length."""
        return ({0: torch.export.Dim("batch"), 1: torch.export.Dim.DYNAMIC},)

    def device_shapes(self) -> tuple[Any, ...]:
        """Return the same for one recording, with bounds: two frames up to a full window.

        A device takes whole frames: what is left behind the last one is cut off.
        """
        stride, reach = self.grid.stride, self.grid.reach
        frames = torch.export.Dim("frames", min=2, max=self.max_frames)
        return ({1: stride * frames + (reach - stride)},)
