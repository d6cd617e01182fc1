"""Which pieces may follow which, so that the bytes of an answer are UTF-8 from end to end.

A character may take several pieces, a byte each. The *state* says what is still missing of the
last one; it depends on the last three pieces alone, as no character misses more than three bytes.
Source: The Unicode Standard, table 3-7, well-formed UTF-8 byte sequences. Knows bytes and ids,
nothing of logits or of what an answer says.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

WHOLE = 0
"""The state in which no byte is missing: an answer may end."""

_NUM_STATES = 8
_MOST_MISSING = 3
_LEADS = (  # first and last lead byte, the state behind it
    (0x00, 0x7F, 0),
    (0xC2, 0xDF, 1),
    (0xE0, 0xE0, 4),
    (0xE1, 0xEC, 2),
    (0xED, 0xED, 5),
    (0xEE, 0xEF, 2),
    (0xF0, 0xF0, 6),
    (0xF1, 0xF3, 3),
    (0xF4, 0xF4, 7),
)
_CONTINUATIONS = (  # state, first and last byte that may come, the state behind it
    (1, 0x80, 0xBF, 0),
    (2, 0x80, 0xBF, 1),
    (3, 0x80, 0xBF, 2),
    (4, 0xA0, 0xBF, 1),  # no overlong form
    (5, 0x80, 0x9F, 1),  # no surrogate
    (6, 0x90, 0xBF, 2),  # no overlong form
    (7, 0x80, 0x8F, 2),  # nothing above U+10FFFF
)


class Utf8Pieces:
    """The pieces that may come in each state.

    Attributes:
        table: `bool [8, vocab_size]`, a row a state. What has no bytes (special tokens, codes)
            may stand between characters only.
        next_states: `int64 [8, vocab_size]`, the state behind each piece.

    Args:
        pieces: bytes of each text id; ids beyond have none.
        vocab_size: of the decoder, at least as many.

    >>> utf8 = Utf8Pieces([b"a", "猫".encode()[:1], "猫".encode()[1:]], vocab_size=4)
    >>> utf8.table[WHOLE].tolist(), utf8.table[utf8.after(WHOLE, 1)].tolist()
    ([True, True, False, True], [False, False, True, False])
    """

    def __init__(self, pieces: Sequence[bytes], vocab_size: int) -> None:
        allowed = np.zeros((_NUM_STATES, vocab_size), dtype=bool)
        after = np.zeros((_NUM_STATES, vocab_size), dtype=np.int64)
        data, lengths = _as_table(pieces)
        text = slice(0, len(pieces))
        for state in range(_NUM_STATES):
            allowed[state, text], after[state, text] = _read(data, lengths, state)
        has_bytes = np.zeros(vocab_size, dtype=bool)
        has_bytes[text] = lengths > 0
        allowed[:, ~has_bytes], after[:, ~has_bytes] = False, WHOLE
        allowed[WHOLE, ~has_bytes] = True
        self.table = allowed & np.isin(after, _with_an_end(allowed, after))
        self.next_states = after

    @cached_property
    def allowed(self) -> "torch.Tensor":
        """The table as a tensor of the same memory."""
        import torch

        return torch.from_numpy(self.table)

    @cached_property
    def _after(self) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.next_states)

    def after(self, state: int, token_id: int) -> int:
        """Return the state that a token leads to."""
        return int(self.next_states[state, token_id])

    def states(self, generated: "torch.Tensor") -> "torch.Tensor":
        """Return the state `int64 [B]` after the generated ids `int64 [B, T]` of each answer."""
        table = self._after.to(generated.device)
        state = generated.new_full(generated.shape[:1], WHOLE)
        for column in generated[:, -_MOST_MISSING:].unbind(dim=1):
            state = table[state, column]
        return state

    def states_of(self, generated: np.ndarray) -> np.ndarray:
        """Return the same of an array."""
        state = np.full(len(generated), WHOLE)
        for column in generated[:, -_MOST_MISSING:].T:
            state = self.next_states[state, column]
        return state


def _byte_table() -> np.ndarray:
    """Return the next state `int64 [8, 256]`, -1 where a byte may not come."""
    table = np.full((_NUM_STATES, 256), -1)
    for first, last, state in _LEADS:
        table[WHOLE, first : last + 1] = state
    for state, first, last, behind in _CONTINUATIONS:
        table[state, first : last + 1] = behind
    return table


def _as_table(pieces: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes `uint8 [pieces, longest]`, filled up with 0, and how many there are."""
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    filled = b"".join(piece.ljust(longest, b"\0") for piece in pieces)
    return np.frombuffer(filled, dtype=np.uint8).reshape(len(pieces), longest), lengths


def _read(data: np.ndarray, lengths: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each piece may come in a state, and the state behind it.

    Behind a byte that may not come, reading goes on as from the start of a character, so that the
    state behind a piece is right whatever stood before the pieces one looks at.
    """
    table = _byte_table()
    resumed = np.maximum(table[WHOLE], WHOLE)
    state = np.full(len(data), start)
    is_allowed = np.ones(len(data), dtype=bool)
    for position in range(data.shape[1]):
        here = np.flatnonzero(lengths > position)
        byte = data[here, position]
        found = table[state[here], byte]
        is_allowed[here] &= found >= 0
        state[here] = np.where(found >= 0, found, resumed[byte])
    return is_allowed, state


def _with_an_end(allowed: np.ndarray, after: np.ndarray) -> list[int]:
    """Return the states from which these pieces can complete the character."""
    found = {WHOLE}
    for _ in range(_NUM_STATES):
        found |= {
            state
            for state in range(_NUM_STATES)
            if (allowed[state] & np.isin(after[state], list(found))).any()
        }
    return sorted(found)
