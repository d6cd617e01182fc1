"""How many tokens a forward pass holds: patches of pictures, frames of full windows of sound.

Where nobody says, each tokenizer has a number of its own for a kind of device. A budget that
somebody chose, measured with `dvse plan batches`, is part of the numerics profile: the number of
rows may decide last bits, so that it is recorded, and a job is not continued under another one.
"""

from dvse.errors import ConfigError


def check_batch_tokens(batch_tokens: int | None) -> None:
    """Refuse what is no token budget.

    Raises:
        ConfigError: neither `None` nor a whole number of at least 1.
    """
    is_whole = isinstance(batch_tokens, int) and not isinstance(batch_tokens, bool)
    if batch_tokens is not None and not (is_whole and batch_tokens >= 1):
        raise ConfigError(
            f"expected batch_tokens, a whole number of at least 1, received {batch_tokens!r}"
        )


def rows_within(batch_tokens: int, num_tokens: int) -> int:
    """Return the rows of chunks of `num_tokens` that a chosen budget holds: a power of two.

    Convolutions may sum the rows of a batch in different orders: with oneDNN on AVX-512 features of
    three or five windows of sound depended on their place in the batch, those of two, four and
    eight did not.

    >>> [rows_within(budget, 196) for budget in (100, 196, 1024, 4096)]
    [1, 1, 4, 16]
    """
    return 1 << max(0, (batch_tokens // num_tokens).bit_length() - 1)
