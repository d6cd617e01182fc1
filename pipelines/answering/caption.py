"""What captioning one input gives. Knows no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption with how it came about.

    Attributes:
        text: the caption, or the answer to the question that was asked.
        reasoning: what the decoder thought before it answered; `None` without thinking.
        token_ids: all ids that the decoder produced, special tokens and the stop included.
        num_prompt_ids: ids of the prompt, media and question together.
        log_probability: natural logarithm of the probability of `token_ids`, among legal tokens.
        is_complete: the decoder ended by itself; otherwise it was cut off at `max_new_tokens`.
        seconds: from the call to the moment when this caption was there.

    >>> caption = Caption(text="seven", token_ids=(12, 0), num_prompt_ids=40,
    ...                   log_probability=-0.1, is_complete=True, seconds=0.2)
    >>> str(caption)
    'seven'
    """

    text: str
    reasoning: str | None = None
    token_ids: tuple[int, ...]
    num_prompt_ids: int
    log_probability: float
    is_complete: bool
    seconds: float

    def __str__(self) -> str:
        return self.text
