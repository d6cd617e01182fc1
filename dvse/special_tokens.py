"""The names of the special tokens: GLM's own, and the picture sizes.

Specials are put into a stream as ids. They are never parsed out of text, so a user may write
`<|begin_of_image|>` and get its characters back.
"""

END_OF_TEXT = "<|endoftext|>"
BEGIN_OF_IMAGE, END_OF_IMAGE = "<|begin_of_image|>", "<|end_of_image|>"
BEGIN_OF_AUDIO, END_OF_AUDIO = "<|begin_of_audio|>", "<|end_of_audio|>"
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
