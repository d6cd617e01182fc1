"""Tables that say at once, for arrays of ids, which block, code and level each of them is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dvse.blocks import KINDS, RUNS, Block
from dvse.errors import IdRangeError


@dataclass(frozen=True, kw_only=True)
class IdTables:
    """One entry an id, and the way back from codes.

    Attributes:
        kinds: `int8 [num_ids]`, the index into `KINDS`; a special in the text block is a special.
        codes, levels: `int64 [num_ids]`, which entry of its block it is, and the block's level; a
            run of codes is the symbol that `CodeRuns` has for it.
        ids_by_code: modality and level → `int64 [num_codes]`.
        ids_by_symbol: `int64 [num_codes + num_runs]`, audio codes and runs of them.
    """

    kinds: np.ndarray
    codes: np.ndarray
    levels: np.ndarray
    ids_by_code: dict[tuple[str, int], np.ndarray]
    ids_by_symbol: np.ndarray

    @classmethod
    def of(cls, blocks: Sequence[Block], special_ids: Collection[int]) -> Self:
        """Make the tables of contiguous blocks.

        >>> first_ids = {"text": 0, "image": 2}
        >>> blocks = [Block(name=name, first_id=i, size=2) for name, i in first_ids.items()]
        >>> IdTables.of(blocks, [1]).kinds.tolist()
        [0, 1, 2, 2]
        """
        kinds = np.concatenate([np.full(b.size, KINDS.index(b.kind), np.int8) for b in blocks])
        kinds[list(special_ids)] = KINDS.index("special")
        runs: dict[tuple[str, int], list[np.ndarray]] = {}
        for b in blocks:
            if b.name in ("image", "audio", RUNS):
                run = np.arange(b.first_id, b.stop_id, dtype=np.int64)
                runs.setdefault((b.name, b.level), []).append(run)
        ids_by_code = {key: np.concatenate(parts) for key, parts in runs.items()}
        none = np.zeros(0, dtype=np.int64)
        symbols = [ids_by_code.get(("audio", 0), none), ids_by_code.pop((RUNS, 0), none)]
        first_codes = [b.first_code + (len(symbols[0]) if b.name == RUNS else 0) for b in blocks]
        codes = [
            np.arange(b.size, dtype=np.int64) + first
            for b, first in zip(blocks, first_codes, strict=True)
        ]
        return cls(
            kinds=kinds,
            codes=np.concatenate(codes),
            levels=np.concatenate([np.full(b.size, b.level, dtype=np.int64) for b in blocks]),
            ids_by_code=ids_by_code,
            ids_by_symbol=np.concatenate(symbols),
        )


def whole_numbers(values: Any, what: str) -> np.ndarray:
    """Return `values` as int64.

    Raises:
        IdRangeError: they are no array, or no whole numbers.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise IdRangeError(f"expected {what} of one shape, received lists of many") from None
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        raise IdRangeError(f"expected {what} to be whole numbers, received dtype {array.dtype}")
    return array.astype(np.int64)
