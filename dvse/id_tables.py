"""Tables that say at once, for arrays of ids, which block, code and level each of them is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dvse.blocks import KINDS, Block


@dataclass(frozen=True, kw_only=True)
class IdTables:
    """One entry an id, and the way back from codes.

    Attributes:
        kinds: `int8 [num_ids]`, the index into `KINDS`; a special in the text block is a special.
        codes, levels: `int64 [num_ids]`, which entry of its block it is, and the block's level.
        ids_by_code: modality and level → `int64 [num_codes]`.
    """

    kinds: np.ndarray
    codes: np.ndarray
    levels: np.ndarray
    ids_by_code: dict[tuple[str, int], np.ndarray]

    @classmethod
    def of(cls, blocks: Sequence[Block], special_ids: Collection[int]) -> Self:
        """Make the tables of contiguous blocks.

        >>> first_ids = {"text": 0, "image": 2}
        >>> blocks = [Block(name=name, first_id=i, size=2) for name, i in first_ids.items()]
        >>> IdTables.of(blocks, [1]).kinds.tolist()
        [0, 1, 2, 2]
        """
        kinds = np.concatenate([np.full(b.size, KINDS.index(b.name), np.int8) for b in blocks])
        kinds[list(special_ids)] = KINDS.index("special")
        runs: dict[tuple[str, int], list[np.ndarray]] = {}
        for b in blocks:
            if b.name in ("image", "audio"):
                run = np.arange(b.first_id, b.stop_id, dtype=np.int64)
                runs.setdefault((b.name, b.level), []).append(run)
        codes = [np.arange(b.size, dtype=np.int64) + b.first_code for b in blocks]
        return cls(
            kinds=kinds,
            codes=np.concatenate(codes),
            levels=np.concatenate([np.full(b.size, b.level, dtype=np.int64) for b in blocks]),
            ids_by_code={key: np.concatenate(parts) for key, parts in runs.items()},
        )
