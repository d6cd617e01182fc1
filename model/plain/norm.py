"""GLM's RMS norm, with one temporary array instead of five where no gradient is wanted."""

import torch
from torch import nn


class PlainRMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension: x / sqrt(mean(x²) + eps) · weight.

    GLM's parameter and formula; for fp32 without gradients it runs in place on its one output
    array, which for long prompts is most of its time (page faults, not sums).

    Source: Zhang and Sennrich, *Root Mean Square Layer Normalization*, 2019, eq. 4.

    Example:
        >>> PlainRMSNorm(2, eps=0.0)(torch.tensor([3.0, 4.0])).tolist()
        [0.8485281467437744, 1.1313709020614624]
    """

    def __init__(self, hidden_size: int, eps: float) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise `[..., hidden_size]` in fp32; the dtype is the wider of input and weight."""
        x = hidden_states
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            wide = x.to(torch.float32)
            mean = wide.pow(2).mean(-1, keepdim=True)
            return self.weight * (wide * torch.rsqrt(mean + self.variance_epsilon)).to(x.dtype)
        if x.dtype is not torch.float32:  # the same bits; `pow` and `mean` take longer for a row
            wide = x.to(torch.float32)
            mean = (wide * wide).sum(-1, keepdim=True).div_(x.shape[-1])
            scale = mean.add_(self.variance_epsilon).rsqrt_()
            return self.weight * wide.mul_(scale).to(x.dtype)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(self.variance_epsilon).rsqrt_()
        return (x * scale).mul_(self.weight)
