"""The grammar of a token stream: which ids may come next.

    stream  := (text | special | picture | recording)*
    picture := <|begin_of_image|> [<|grid_h|> <|grid_w|>] code{h·w·levels} <|end_of_image|>
    recording := <|begin_of_audio|> (code{levels} | run)+ <|end_of_audio|>

The size tokens stand there only where the bundle lets the grid vary. Residual levels of one place
follow each other, level 0 first; a run is several codes of a single level in one id
(`dvse.code_runs`). The validator walks a finished stream with it; constrained generation asks
`allowed` before each step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dvse.errors import GrammarError, IdRangeError
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

    def side_of(self, token_id: int) -> int:
        """Return the number of rows or columns that a size token states.

        Raises:
            IdRangeError: it is none.
        """
        side = self._side.get(int(token_id))
        if side is None:
            name = self.vocabulary.name_of(token_id)
            raise IdRangeError(f"expected a size token such as <|grid_16|>, received {name}")
        return side

    @cached_property
    def _special(self) -> dict[str, int]:
        return self.vocabulary.special_tokens

    @cached_property
    def _begins(self) -> dict[int, str]:
        """Ids that open a modality which the vocabulary has."""
        names = {BEGIN_OF_IMAGE: "image", BEGIN_OF_AUDIO: "audio"}
        return {self._special[n]: m for n, m in names.items() if self.vocabulary.num_codes(m)}

    @cached_property
    def _outside(self) -> tuple[range, ...]:
        """Ids that may stand between pictures and recordings."""
        inside = {BEGIN_OF_IMAGE, BEGIN_OF_AUDIO, END_OF_IMAGE, END_OF_AUDIO, *GRID_TOKENS}
        closed = {self._special[name] for name in inside} - self._begins.keys()
        return _ranges(i for i in range(self.vocabulary.blocks[1].stop_id) if i not in closed)

    @cached_property
    def _end(self) -> dict[str, range]:
        ends = {"image": self._special[END_OF_IMAGE], "audio": self._special[END_OF_AUDIO]}
        return {modality: range(i, i + 1) for modality, i in ends.items()}

    @cached_property
    def _codes(self) -> dict[str, list[tuple[range, ...]]]:
        """Per modality and level the ids of its codes, and of runs of them."""
        blocks = self.vocabulary.blocks
        return {
            name: [
                tuple(
                    range(b.first_id, b.stop_id) for b in blocks if (b.kind, b.level) == (name, n)
                )
                for n in range(self.vocabulary.num_levels(name))
            ]
            for name in ("image", "audio")
        }

    @cached_property
    def _side(self) -> dict[int, int]:
        return {self._special[grid_token(n)]: n for n in range(1, MAX_GRID_SIDE + 1)}

    def _sides(self, most: int) -> tuple[range, ...]:
        """Ids of the sizes 1 … most."""
        return _ranges(sorted(i for i, side in self._side.items() if side <= most))


class StreamState:
    """Where a stream stands: `allowed` says what may come next, `push` takes it."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._position = 0
        self._inside = ""
        self._height = 0
        self._codes_left: int | None = None
        self._num_codes = 0
        self._allowed = grammar._outside

    @property
    def is_complete(self) -> bool:
        """Whether the stream may end here."""
        return not self._inside

    def allowed(self) -> tuple[range, ...]:
        """Return the ids that may come next, as ranges."""
        return self._allowed

    def push(self, token_id: int) -> None:
        """Take the next token.

        Raises:
            GrammarError: it may not come next; position, expected and received are named.
        """
        for ids in self._allowed:
            if token_id in ids:
                break
        else:
            raise GrammarError(
                f"position {self._position}: expected {self._options()}, received "
                f"{self._grammar.vocabulary.name_of(token_id)}"
            )
        self._position += 1
        if not self._inside:
            if token_id in self._grammar._begins:
                self._enter(self._grammar._begins[token_id])
        elif token_id in self._grammar._end[self._inside]:
            self._inside, self._allowed = "", self._grammar._outside
        elif token_id in self._grammar._side:
            self._take_side(self._grammar._side[token_id])
        else:
            self._num_codes += 1
            self._allowed = self._next_codes()

    def finish(self) -> None:
        """Accept the end of the stream.

        Raises:
            GrammarError: a picture or recording is still open.
        """
        if not self.is_complete:
            raise GrammarError(
                f"position {self._position}: expected {self._options()}, received the end of the "
                f"stream; <|begin_of_{self._inside}|> is still open"
            )

    def _enter(self, modality: str) -> None:
        self._inside, self._height, self._codes_left, self._num_codes = modality, 0, None, 0
        if modality == "audio":
            self._allowed = self._grammar._codes["audio"][0]
        elif self._grammar.fixed_grid is not None:
            self._open_grid(*self._grammar.fixed_grid)
        else:
            self._allowed = self._grammar._sides(self._grammar.max_image_codes)

    def _take_side(self, side: int) -> None:
        if self._height:
            self._open_grid(self._height, side)
        else:
            self._height = side
            self._allowed = self._grammar._sides(self._grammar.max_image_codes // side)

    def _open_grid(self, rows: int, columns: int) -> None:
        self._codes_left = rows * columns * self._grammar.vocabulary.num_levels("image")
        self._allowed = self._grammar._codes["image"][0]

    def _next_codes(self) -> tuple[range, ...]:
        """What may follow a code: the next level, the next place, or the end."""
        levels = self._grammar._codes[self._inside]
        level = self._num_codes % len(levels)
        if self._inside == "image":
            if self._num_codes == self._codes_left:
                return (self._grammar._end["image"],)
            return levels[level]
        return levels[level] if level else (*levels[0], self._grammar._end["audio"])

    def _options(self) -> str:
        name = self._grammar.vocabulary.name_of
        shown = [
            name(r.start) if len(r) == 1 else f"{name(r.start)} … {name(r.stop - 1)}"
            for r in self._allowed[:4]
        ]
        return " or ".join(shown) + (" or …" if len(self._allowed) > 4 else "")


def _ranges(ids: Iterable[int]) -> tuple[range, ...]:
    """Rising ids as few ranges."""
    found: list[range] = []
    for i in ids:
        if found and found[-1].stop == i:
            found[-1] = range(found[-1].start, i + 1)
        else:
            found.append(range(i, i + 1))
    return tuple(found)
