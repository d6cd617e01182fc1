"""How many codes of stored rows stay when the inputs are tokenised in another precision."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from dvse.blocks import KINDS
from dvse.encoding import Encoding
from dvse.vocabulary import Vocabulary

_MODALITIES = ("image", "audio")


class KeptCodes:
    """Counts codes of pictures and recordings; text and special tokens have no precision.

    Args:
        precision: the other one, for people.
        vocabulary: which ids are codes.
    """

    def __init__(self, precision: str, vocabulary: Vocabulary) -> None:
        self._precision = precision
        self._vocabulary = vocabulary
        self._kept = dict.fromkeys(_MODALITIES, 0)
        self._codes = dict.fromkeys(_MODALITIES, 0)

    def add(self, stored: Sequence[int], other: Encoding) -> None:
        """Count a row: its stored ids, and what the other precision makes of its input.

        Where repeats are merged rows may differ in length; then the longest common runs count.
        """
        ids = np.asarray(stored, dtype=np.int64)
        for modality in _MODALITIES:
            before, after = (self._places(modality, row) for row in (ids, other.ids))
            self._codes[modality] += len(before)
            if len(before) == len(after):
                self._kept[modality] += int((before == after).sum())
                continue
            matcher = SequenceMatcher(a=before.tolist(), b=after.tolist(), autojunk=False)
            self._kept[modality] += sum(block.size for block in matcher.get_matching_blocks())

    def _places(self, modality: str, ids: np.ndarray) -> np.ndarray:
        """The codes of one modality in a row, those of each level apart."""
        vocabulary = self._vocabulary
        mine = ids[vocabulary.kinds(ids) == KINDS.index(modality)]
        codes, levels = vocabulary.codes_of(modality, mine)
        return codes + levels * vocabulary.num_codes(modality)

    def lines(self) -> list[str]:
        """Return a line a modality: the share of the stored codes that stay."""
        return [
            f"against {self._precision}: {100 * self._kept[m] / count:.2f} % of {count:,} {m} "
            "codes stay"
            for m, count in self._codes.items()
            if count
        ]
