"""Pixels to codes as one graph: scaling, encoder, projection and nearest-code search."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dvse.codebook_graph import CodebookGraph
from dvse.errors import ConfigError
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer


class PictureCodes(nn.Module):
    """`uint8 [N, H, W, 3]` to codes `int32 [N, rows * columns, num_levels]`, to be traced.

    Args:
        tokenizer: in fp32, on a CPU; it is copied.

    Raises:
        ConfigError: a draft.
    """

    input_names = ("pixels",)
    output_names = ("codes",)

    def __init__(self, tokenizer: ImageTokenizer) -> None:
        super().__init__()
        if tokenizer.quantizer is None:
            raise ConfigError("expected a picture tokenizer with codes, received a draft")
        self.encoder = copy.deepcopy(tokenizer.encoder).to(memory_format=torch.contiguous_format)
        self.quantizer = copy.deepcopy(tokenizer.quantizer)
        self.search: nn.Module | None = None
        if isinstance(self.quantizer, CodebookQuantizer):
            self.search = CodebookGraph(self.quantizer.codebook)
        self.geometry = tokenizer.geometry

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the codes of each place of the grid."""
        features = self.encoder(pixels)
        flat = features.reshape(-1, features.shape[-1])
        if self.search is None:
            codes = self.quantizer.encode(flat)
        else:
            project = self.quantizer.project_in
            codes = self.search(flat if project is None else project(flat))
        return codes.reshape(features.shape[0], -1, codes.shape[-1]).int()

    def sample(self) -> tuple[Any, ...]:
        """Return two pictures; where the grid varies, of no square one."""
        patch = self.geometry.patch_size
        rows, columns = self.geometry.fixed_grid or (5, 3)
        return (torch.zeros(2, rows * patch, columns * patch, 3, dtype=torch.uint8),)

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Return which sizes of `sample` are free: the number of pictures, and a varying grid."""
        batch, dim = torch.export.Dim("batch"), torch.export.Dim
        if self.geometry.fixed_grid is not None:
            return ({0: batch},)
        patch = self.geometry.patch_size
        return ({0: batch, 1: patch * dim("rows"), 2: patch * dim("columns")},)
