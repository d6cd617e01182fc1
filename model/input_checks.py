"""Refusing ids, sequences and caches that the model cannot read, before they do harm.

Without these checks an id outside the vocabulary is a bare `IndexError` on a CPU and kills the
CUDA context on a GPU, and a position behind the context silently gives nonsense.
"""

from typing import TYPE_CHECKING, Any

import torch

from .errors import ContextLengthError, EmptySequenceError, TokenIdError
from .linear import is_plain_eager

if TYPE_CHECKING:
    from transformers.cache_utils import Cache

    from .plain.cache import PlainCache


def check_ids(input_ids: torch.Tensor, vocab_size: int) -> None:
    """Refuse ids `[B, T]` outside 0 … `vocab_size` - 1.

    Looked at on a CPU always; on other devices only where there is more than one token a sequence,
    as reading a result there stalls the device.

    Raises:
        TokenIdError: with the id, its place and what to do.
    """
    if not is_plain_eager() or type(input_ids) is not torch.Tensor or input_ids.is_meta:
        return
    if input_ids.device.type != "cpu" and input_ids.shape[-1] == 1:
        return
    low, high = torch.aminmax(input_ids)
    if low < 0 or high >= vocab_size:
        is_bad = (input_ids < 0) | (input_ids >= vocab_size)
        place = tuple(is_bad.nonzero()[0].tolist())
        raise TokenIdError(
            f"input_ids must lie between 0 and {vocab_size - 1} (vocab_size {vocab_size}), got "
            f"{int(input_ids[place])} at position {list(place)}: tokenise with the bundle that "
            "belongs to this model, or grow the model with extend_embedding."
        )


def check_length(length: int) -> None:
    """Refuse a sequence of no tokens.

    Raises:
        EmptySequenceError: `length` is 0.
    """
    if length == 0:
        raise EmptySequenceError(
            "input_ids must hold at least one token a sequence, got an empty sequence: give a "
            "prompt, or a begin-of-sequence id to start from nothing."
        )


def check_context(cache: "Cache | PlainCache | None", num_new: int, max_positions: int) -> None:
    """Refuse a cache that, with `num_new` more tokens, is longer than the context.

    Raises:
        ContextLengthError: with both lengths and what to do.
    """
    if cache is None or not is_plain_eager():
        return
    layer: Any = cache.layers[0] if cache.layers else None
    room = getattr(layer, "max_cache_len", None)  # of a static cache, which is allocated at once
    if room is not None:
        if room > max_positions:
            raise ContextLengthError(
                f"a static cache may hold at most max_position_embeddings ({max_positions}) "
                f"tokens, got one for {room}: lower max_cache_len or max_new_tokens."
            )
        return
    held = cache.get_seq_length()
    if held + num_new > max_positions:
        raise ContextLengthError(
            f"the context holds max_position_embeddings ({max_positions}) tokens, but the cache "
            f"holds {held} and {num_new} more were given: shorten the prompt, lower "
            "max_new_tokens, or load the model with a longer context and rope scaling."
        )
