"""An embedding that also takes features: what a decoder reads where nothing is made discrete.

A feature stands in a row as an id behind the vocabulary, `vocabulary size + 2·n + kind`, so shards,
packing, training and answering need to know nothing of it. It becomes a vector of the decoder's
width through a linear map a kind, trained with the rest.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from model import DvseForCausalLM

KINDS = ("image", "audio")


def feature_ids(vocabulary_size: int, kind: str, first: int, count: int) -> np.ndarray:
    """Return the ids `int64 [count]` of features `first`, `first + 1`, … of a kind.

    >>> feature_ids(100, "audio", 3, 2)
    array([107, 109])
    """
    return vocabulary_size + 2 * np.arange(first, first + count) + KINDS.index(kind)


class ContinuousEmbedding(nn.Embedding):
    """Ids `int64 [...]` to vectors `fp32 [..., hidden_size]`: rows of a table, or mapped features.

    Args:
        embedding: of the decoder; its table is shared.
        tables: features `fp16 [N, dim]`, one array for each of `KINDS`; they are not trained.
    """

    def __init__(self, embedding: nn.Embedding, tables: Sequence[np.ndarray]) -> None:
        super().__init__(1, embedding.embedding_dim)
        self.weight = embedding.weight
        self.vocabulary_size = embedding.num_embeddings
        self.num_embeddings = self.vocabulary_size + 2 * max(map(len, tables))
        # Not among the weights: gigabytes that never change.
        self._tables = tuple(torch.from_numpy(table) for table in tables)
        self.norms = nn.ModuleList(
            nn.LayerNorm(table.shape[1], elementwise_affine=False) for table in tables
        )
        maps = [nn.Linear(table.shape[1], self.embedding_dim) for table in tables]
        scale = float(embedding.weight.detach().std())
        for linear in maps:
            nn.init.normal_(linear.weight, std=scale * linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)
        self.maps = nn.ModuleList(maps)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Look up, or map."""
        vectors = F.embedding(input.clamp(max=self.vocabulary_size - 1), self.weight)
        behind = input - self.vocabulary_size
        for kind, (table, norm, linear) in enumerate(
            zip(self._tables, self.norms, self.maps, strict=True)
        ):
            here = (behind >= 0) & (behind % 2 == kind)
            if here.any():
                features = table[behind[here].cpu() // 2].float().to(vectors.device)
                vectors = vectors.index_put((here,), linear(norm(features)))
        return vectors


def read_features(decoder: DvseForCausalLM, tables: Sequence[np.ndarray]) -> None:
    """Let a decoder read feature ids, too."""
    embedding = decoder.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    decoder.model.embed_tokens = ContinuousEmbedding(embedding, tables)
