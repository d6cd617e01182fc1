"""A codebook as plain operators, to be traced: the nearest-code search inside a graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.codebook import Codebook


class CodebookGraph(nn.Module):
    """Features `fp32 [N, dim]` to codes `int64 [N, num_levels]`, as `Codebook.encode` finds them.

    One product with a bias and an argmax a level; ties go to the lower code.

    >>> book = Codebook(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    >>> CodebookGraph(book)(torch.tensor([[0.9, 1.2], [0.1, -0.2]])).tolist()
    [[1], [0]]
    """

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        centroids = codebook.centroids.detach().cpu()
        self.is_cosine = codebook.metric == "cosine"
        self.centroids: Tensor
        self.biases: Tensor
        self.register_buffer("centroids", centroids, persistent=False)
        biases = torch.stack([level.square().sum(-1).mul(-0.5) for level in centroids])
        self.register_buffer("biases", biases, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the codes."""
        residual = F.normalize(features, dim=-1) if self.is_cosine else features
        num_levels = len(self.centroids)
        codes = []
        for number in range(num_levels):
            level = self.centroids[number]
            code = (residual @ level.T + self.biases[number]).argmax(-1)
            codes.append(code)
            if number + 1 < num_levels:
                residual = residual - level.index_select(0, code)
        return torch.stack(codes, dim=-1)
