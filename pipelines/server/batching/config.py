"""How much a `ContinuousBatcher` does and keeps at once."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Sizes of a `ContinuousBatcher`.

    Attributes:
        max_running: answers in the batch.
        max_waiting: requests in the queue.
        cache_tokens: tokens whose keys and values are kept, for all answers together.
        prefix_pages: pages of `chunk` tokens kept for prompts that begin alike.
        chunk: tokens of a prompt that are computed together.
        step_tokens: tokens of a step, beyond which no further part of a prompt joins.
    """

    max_running: int = 32
    max_waiting: int = 128
    cache_tokens: int = 32_768
    prefix_pages: int = 128
    chunk: int = 64
    step_tokens: int = 256

    @property
    def total_tokens(self) -> int:
        """Tokens of the cache, pages included."""
        return self.cache_tokens + self.prefix_pages * self.chunk
