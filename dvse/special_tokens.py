"""The names of the special tokens: GLM's own, and the picture sizes.

Specials are put into a stream as ids. They are never parsed out of text, so a user may write
`<|begin_of_image|>` and get its characters back.
"""

from collections.abc import Mapping

from dvse.errors import VocabularyError

END_OF_TEXT = "<|endoftext|>"
BEGIN_OF_IMAGE, END_OF_IMAGE = "<|begin_of_image|>", "<|end_of_image|>"
BEGIN_OF_AUDIO, END_OF_AUDIO = "<|begin_of_audio|>", "<|end_of_audio|>"
# What stands around the codes of a picture and of a recording.
BRACKETS = {"image": (BEGIN_OF_IMAGE, END_OF_IMAGE), "audio": (BEGIN_OF_AUDIO, END_OF_AUDIO)}
GMASK, SOP = "[gMASK]", "<sop>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
OBSERVATION = "<|observation|>"
THINK, END_THINK = "<think>", "</think>"

NAMED_TOKENS = (
    END_OF_TEXT,
    GMASK,
    SOP,
    SYSTEM,
    USER,
    ASSISTANT,
    OBSERVATION,
    THINK,
    END_THINK,
    BEGIN_OF_IMAGE,
    END_OF_IMAGE,
    BEGIN_OF_AUDIO,
    END_OF_AUDIO,
)

MAX_GRID_SIDE = 128


def grid_token(side: int) -> str:
    """Return the token that states a number of rows or columns, 1 … 128.

    >>> grid_token(16)
    '<|grid_16|>'
    """
    return f"<|grid_{side}|>"


GRID_TOKENS = tuple(grid_token(side) for side in range(1, MAX_GRID_SIDE + 1))


def check_special_tokens(special_tokens: Mapping[str, int], *, limit: int) -> None:
    """Raise `VocabularyError` unless all are there, each with an id of its own below `limit`."""
    ids = list(special_tokens.values())
    outside = {n: i for n, i in special_tokens.items() if not (type(i) is int and 0 <= i < limit)}
    if outside:
        raise VocabularyError(f"expected special ids in 0..{limit - 1}, received {outside}")
    if len(set(ids)) != len(ids):
        raise VocabularyError("expected every special token to have an id of its own")
    missing = [n for n in (*NAMED_TOKENS, *GRID_TOKENS) if n not in special_tokens]
    if missing:
        raise VocabularyError(f"expected all special tokens, {missing[:3]} are missing")
