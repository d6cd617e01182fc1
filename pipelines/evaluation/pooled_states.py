"""What the decoder makes of one picture, recording or text: the mean of its last hidden states.

    [gMASK] <sop> <|user|> ⏎ item      mean over the positions of the item

Nothing is asked, so the state is of the item alone. The start of an alignment of the three in one
space, measured by `pipelines.evaluation.measures.retrieval`.
"""

from collections.abc import Sequence

import numpy as np
import torch

from dvse.errors import InputError
from dvse.items import Item
from pipelines.answering.model_directory import LoadedModel
from pipelines.answering.prompts import pooled_row, too_long


def pooled_states(
    loaded: LoadedModel, items: Sequence[Item], *, batch_size: int = 32
) -> np.ndarray:
    """Return `float32 [n, hidden_size]`, a row an item.

    Raises:
        InputError: an item that cannot be tokenised, or with more ids than the context holds.
    """
    encodings = []
    limit = loaded.model.config.max_position_embeddings
    for found in loaded.tokenizer.encode_many(pooled_row(item) for item in items):
        if isinstance(found, InputError):
            raise found
        if len(found) > limit:
            raise too_long(len(found), limit)
        encodings.append(found)
    order = sorted(range(len(encodings)), key=lambda n: len(encodings[n]))
    states = np.zeros((len(items), loaded.model.config.hidden_size), np.float32)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids = [encodings[n].ids for n in batch]
        starts = [encodings[n].spans[-1].start for n in batch]
        states[batch] = _pooled(loaded, ids, starts)
    return states


def _pooled(loaded: LoadedModel, rows: list[np.ndarray], starts: list[int]) -> np.ndarray:
    """Padded on the right: a causal decoder never sees what comes after."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), loaded.tokenizer.vocabulary.pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    chosen = torch.zeros((len(rows), width))
    for n, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[n, : len(row)] = torch.from_numpy(row)
        mask[n, : len(row)] = True
        chosen[n, start : len(row)] = 1 / max(len(row) - start, 1)
    device = loaded.device
    with torch.inference_mode():
        out = loaded.model.model(ids.to(device), attention_mask=mask.to(device), use_cache=False)
        hidden = out.last_hidden_state.float()
        return torch.einsum("bth,bt->bh", hidden, chosen.to(device)).cpu().numpy()
