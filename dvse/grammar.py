"""The grammar of a token stream: which ids may come next.

    stream  := (text | special | picture | recording)*
    picture := <|begin_of_image|> [<|grid_h|> <|grid_w|>] code{h·w·levels} <|end_of_image|>
    recording := <|begin_of_audio|> (code{levels})+ <|end_of_audio|>

The size tokens stand there only where the bundle lets the grid vary. Residual levels of one place
follow each other, level 0 first. The validator walks a finished stream with it; constrained
generation asks `allowed` before each step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from dvse.errors import GrammarError
from dvse.special_tokens import (
    BEGIN_OF_AUDIO,
    BEGIN_OF_IMAGE,
    END_OF_AUDIO,
    END_OF_IMAGE,
    GRID_TOKENS,
    MAX_GRID_SIDE,
    grid_token,
)
from dvse.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """The grammar of one bundle.

    Attributes:
        vocabulary: the ids.
        fixed_grid: rows and columns of every picture, `None` where the stream states them.
        max_image_codes: the most places a picture may have.

    >>> v = Vocabulary.create(text_size=10, image=(4, 1))
    >>> grammar = Grammar(vocabulary=v, fixed_grid=(1, 2))
    >>> begin, end = v.special_tokens["<|begin_of_image|>"], v.special_tokens["<|end_of_image|>"]
    >>> grammar.check([3, begin, *v.image_ids([0, 3]), end])
    >>> grammar.check([begin, *v.image_ids([0]), end])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dvse.errors.GrammarError: position 2: expected ..., received <|end_of_image|>
    """

    vocabulary: Vocabulary
    fixed_grid: tuple[int, int] | None = None
    max_image_codes: int = MAX_GRID_SIDE * MAX_GRID_SIDE

    def start(self) -> "StreamState":
        """Return the state before the first token."""
        return StreamState(self)

    def check(self, ids: Sequence[int] | np.ndarray) -> None:
        """Accept a complete stream.

        Raises:
            IdRangeError: an id that the vocabulary does not have.
            GrammarError: the first token that may not stand where it stands, or a picture or
                recording that is still open at the end.
        """
        state = self.start()
        for token_id in self.vocabulary.check_ids(np.asarray(ids)).tolist():
            state.push(token_id)
        state.finish()

    def allowed_mask(self, state: "StreamState") -> np.ndarray:
        """Return `bool [vocabulary.size]`, true for the ids that may come next."""
        mask = np.zeros(self.vocabulary.size, dtype=bool)
        for ids in state.allowed():
            mask[ids.start : ids.stop] = True
        return mask

    @cached_property
    def _special(self) -> dict[str, int]:
        return self.vocabulary.special_tokens

    @cached_property
    def _outside(self) -> tuple[range, ...]:
        """Ids that may stand between pictures and recordings, as few ranges."""
        closed = {self._special[n] for n in (END_OF_IMAGE, END_OF_AUDIO, *GRID_TOKENS)}
        for name, begin in (("image", BEGIN_OF_IMAGE), ("audio", BEGIN_OF_AUDIO)):
            if not self.vocabulary.num_codes(name):
                closed.add(self._special[begin])
        stop = self.vocabulary.blocks[1].stop_id
        edges = [-1, *sorted(closed), stop]
        return tuple(range(a + 1, b) for a, b in pairwise(edges) if a + 1 < b)

    @cached_property
    def _code_ranges(self) -> dict[tuple[str, int], tuple[range, ...]]:
        ranges: dict[tuple[str, int], tuple[range, ...]] = {}
        for block in self.vocabulary.blocks[2:]:
            key = (block.name, block.level)
            ranges[key] = (*ranges.get(key, ()), range(block.first_id, block.stop_id))
        return ranges

    @cached_property
    def _grid_side(self) -> dict[int, int]:
        return {self._special[grid_token(n)]: n for n in range(1, MAX_GRID_SIDE + 1)}


class StreamState:
    """Where a stream stands. `allowed` says what may come next, `push` takes it."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._position = 0
        self._inside = ""
        self._height: int | None = None
        self._codes_left: int | None = None
        self._num_codes = 0

    @property
    def is_complete(self) -> bool:
        """Whether the stream may end here."""
        return not self._inside

    def allowed(self) -> tuple[range, ...]:
        """Return the ids that may come next, as ranges."""
        g = self._grammar
        if not self._inside:
            return g._outside
        if self._inside == "image" and self._codes_left is None:
            most = g.max_image_codes // (self._height or 1)
            sides = range(1, min(most, MAX_GRID_SIDE) + 1)
            return tuple(range(i, i + 1) for i in sorted(g._special[grid_token(n)] for n in sides))
        end = g._special[END_OF_IMAGE if self._inside == "image" else END_OF_AUDIO]
        if self._codes_left == 0:
            return (range(end, end + 1),)
        level = self._num_codes % g.vocabulary.num_levels(self._inside)
        codes = g._code_ranges[self._inside, level]
        if self._inside == "audio" and self._num_codes and level == 0:
            return (range(end, end + 1), *codes)
        return codes

    def push(self, token_id: int) -> None:
        """Take the next token.

        Raises:
            GrammarError: it may not come next; position, expected and received are named.
        """
        g = self._grammar
        if not any(token_id in ids for ids in self.allowed()):
            name = g.vocabulary.name_of
            options = [
                name(r.start) if len(r) == 1 else f"{name(r.start)} … {name(r.stop - 1)}"
                for r in self.allowed()
            ]
            shown = " or ".join(options[:4]) + (" or …" if len(options) > 4 else "")
            raise GrammarError(
                f"position {self._position}: expected {shown}, received {name(token_id)}"
            )
        self._position += 1
        if not self._inside:
            self._enter(token_id)
        elif self._inside == "image" and self._codes_left is None:
            side = g._grid_side[token_id]
            if self._height is None:
                self._height = side
            else:
                self._codes_left = self._height * side * g.vocabulary.num_levels("image")
        elif token_id in (g._special[END_OF_IMAGE], g._special[END_OF_AUDIO]):
            self._inside = ""
        else:
            self._num_codes += 1
            if self._codes_left is not None:
                self._codes_left -= 1

    def finish(self) -> None:
        """Accept the end of the stream.

        Raises:
            GrammarError: a picture or recording is still open.
        """
        if not self.is_complete:
            missing = f", {self._codes_left} codes are missing" if self._codes_left else ""
            raise GrammarError(
                f"position {self._position}: expected <|end_of_{self._inside}|> before the stream "
                f"ends{missing}"
            )

    def _enter(self, token_id: int) -> None:
        g = self._grammar
        if token_id == g._special[BEGIN_OF_IMAGE]:
            self._inside, self._height, self._codes_left = "image", None, None
            if g.fixed_grid is not None:
                rows, columns = g.fixed_grid
                self._codes_left = rows * columns * g.vocabulary.num_levels("image")
        elif token_id == g._special[BEGIN_OF_AUDIO]:
            self._inside, self._codes_left = "audio", None
        self._num_codes = 0
