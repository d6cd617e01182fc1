"""Codes that follow their features without a table of all features by all codes.

vector-quantize-pytorch writes down which feature chose which code as a table of zeros and ones,
and takes products with it: of 4,096 codes half of a training step. Here the same sums are taken by
index. Codes that are compared by angle lie on the unit sphere, where the nearest by distance is the
nearest by angle.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from dvse.nearest import nearest_codes

_REMEMBERED = 133  # features of a code


def choose_by_index(codebook: Any) -> None:
    """Let a codebook of vector-quantize-pytorch choose and move its codes by index.

    Everything else about it (where codes begin, averages, dead ones) stays the library's; choices
    and codes are equal but for the order of sums. Two of its settings follow how many features a
    code has in a step, for they meant something else with more codes: `decay` is at least such
    that 133 features of each are remembered, and a code is dead below the wanted share of the
    others' mean.
    """
    library: Any = type(codebook)
    codebook.__class__ = _indexed(library)
    codebook.dead_share = codebook.threshold_ema_dead_code


@cache
def _indexed(base: Any) -> Any:
    class IndexedCodebook(base):  # type: ignore[misc]
        def forward(self, x: Tensor, **unused: Any) -> tuple[Tensor, Tensor, Tensor]:
            """Return the codes of `[B, P, dim]`, their numbers, and no distances."""
            flat = x.float().flatten(0, 1)
            self.init_embed_(flat[None], mask=None)
            codes = nearest_codes(flat.detach(), self.embed[0])
            chosen = self.embed.detach()[0][codes]
            if self.training:
                self._follow(flat.detach(), codes)
            return chosen.view_as(x), codes.view(x.shape[:2]), flat.new_empty(0)

        def _follow(self, flat: Tensor, codes: Tensor) -> None:
            counts = torch.bincount(codes, minlength=self.codebook_size).to(flat.dtype)
            sums = torch.zeros_like(self.embed[0]).index_add_(0, codes, flat)
            self.all_reduce_fn(counts)
            self.all_reduce_fn(sums)
            mean = counts.mean().item()
            weight = min(1 - self.decay, mean / _REMEMBERED)
            self.cluster_size.data.lerp_(counts[None], weight)
            self.embed_avg.data.lerp_(sums[None], weight)
            self.threshold_ema_dead_code = self.reset_cluster_size = self.dead_share * mean
            self.update_ema()
            self.expire_codes_(flat[None])

    return IndexedCodebook
