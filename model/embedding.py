"""Growing the one embedding: new ids behind the old ones, with rows that start in a good place.

Text, image and audio ids share one table, in and out. A new block (a codebook's ids) starts from
the mean of the old rows, or from the codebook's centroids: then codes that are near in the codebook
are near in the table. Old rows, and so the logits of old ids, do not change.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from .errors import ModelConfigError


def extend_embedding(
    model: PreTrainedModel,
    num_new: int,
    init: torch.Tensor | str = "mean",
    *,
    seed: int = 0,
) -> range:
    """Append `num_new` rows to the embedding and to the head, and return the new ids.

    Args:
        model: `DvseForCausalLM` or `DvseModel`, changed in place.
        num_new: how many, at least 1.
        init: `"mean"`, or `[num_new, D]` centroids, of any width; see `initialize_rows`.
        seed: for the projection of centroids narrower than the model.

    Returns:
        `range(old vocab_size, new vocab_size)`.

    Raises:
        ModelConfigError: no rows, or an `init` that does not fit.

    Example:
        >>> from model import DvseConfig, DvseForCausalLM
        >>> model = DvseForCausalLM(DvseConfig(vocab_size=10, hidden_size=8, intermediate_size=8,
        ...                         num_hidden_layers=1, num_attention_heads=2))
        >>> extend_embedding(model, 4), model.config.vocab_size
        (range(10, 14), 14)
    """
    if num_new < 1:
        raise ModelConfigError(f"num_new must be at least 1, got {num_new}.")
    old = _tables(model)[0].shape[0]
    ids = range(old, old + num_new)
    _check_init(init, num_new)
    model.resize_token_embeddings(old + num_new, mean_resizing=False)
    _fill(model, ids, init, num_old=old, seed=seed)
    return ids


def initialize_rows(
    model: PreTrainedModel, ids: range, init: torch.Tensor | str = "mean", *, seed: int = 0
) -> None:
    """Overwrite the rows of `ids` in the embedding and in the head.

    The mean is that of all rows before `ids`. Centroids are centred, mapped to the model's width
    without changing their angles (an orthonormal map; their main directions where they are wider),
    scaled to the spread of the old rows around their mean, and added to that mean.

    Args:
        model: `DvseForCausalLM` or `DvseModel`, changed in place.
        ids: consecutive ids inside the vocabulary; those before them must exist.
        init: `"mean"`, or `[len(ids), D]` centroids, row i for id `ids[i]`.
        seed: for the orthonormal map.

    Raises:
        ModelConfigError: ids outside the vocabulary or an `init` that does not fit.
    """
    size = _tables(model)[0].shape[0]
    if not 0 < ids.start < ids.stop <= size or ids.step != 1:
        raise ModelConfigError(
            f"ids must be consecutive and lie between 1 and {size - 1}, got {ids}."
        )
    _check_init(init, len(ids))
    _fill(model, ids, init, num_old=ids.start, seed=seed)


@torch.no_grad()
def _fill(
    model: PreTrainedModel, ids: range, init: torch.Tensor | str, *, num_old: int, seed: int
) -> None:
    for table in _tables(model):
        old = table[:num_old].float()
        mean = old.mean(dim=0)
        rows = mean.expand(len(ids), -1)
        if isinstance(init, torch.Tensor):
            spread = (old - mean).square().sum(dim=1).mean().sqrt()
            rows = mean + spread * _unit_rows(init, table.shape[1], seed).to(mean)
        table[ids.start : ids.stop] = rows.to(table.dtype)


def _tables(model: PreTrainedModel) -> list[torch.Tensor]:
    """The embedding's weight and, where it is another, the head's."""
    parts: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = [part.weight for part in parts if part is not None]
    return weights[:1] if weights[-1] is weights[0] else weights


def _unit_rows(centroids: torch.Tensor, width: int, seed: int) -> torch.Tensor:
    """Centred centroids in `width` dimensions, root-mean-square length 1, angles kept."""
    rows = centroids.detach().to("cpu", torch.float32)
    rows = rows - rows.mean(dim=0)
    if rows.shape[1] > width:
        rows = rows @ torch.linalg.svd(rows, full_matrices=False).Vh[:width].T
    if rows.shape[1] < width:
        noise = torch.randn(width, rows.shape[1], generator=torch.Generator().manual_seed(seed))
        rows = rows @ torch.linalg.qr(noise).Q.T
    return rows / rows.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)


def _check_init(init: torch.Tensor | str, num_rows: int) -> None:
    if isinstance(init, str):
        if init != "mean":
            raise ModelConfigError(f"init must be 'mean' or an array of centroids, got {init!r}.")
    elif init.dim() != 2 or init.shape[0] != num_rows:
        raise ModelConfigError(
            f"init must hold one centroid for each new id, [{num_rows}, D], got {list(init.shape)}."
        )
    elif not torch.isfinite(init).all():
        raise ModelConfigError("init holds NaN or infinite centroids: train the codebook again.")
