"""Two linear maps with a tanh between: BEiT v2's way from features to codes."""

from torch import Tensor, nn


class TanhMlp(nn.Module):
    """`[..., in_features]` to `[..., out_features]`.

    >>> import torch
    >>> TanhMlp(8, 16, 4)(torch.zeros(3, 8)).shape
    torch.Size([3, 4])
    """

    def __init__(self, in_features: int, hidden_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.hidden_features = hidden_features
        self.first = nn.Linear(in_features, hidden_features)
        self.second = nn.Linear(hidden_features, out_features)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features in the other width."""
        return self.second(self.first(features).tanh())
