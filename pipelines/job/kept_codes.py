"""How many codes of stored rows stay when the inputs are tokenised in another precision."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from dvse.encoding import Encoding
from dvse.vocabulary import Vocabulary

_MODALITIES = {1: "image", 2: "audio"}


class KeptCodes:
    """Counts codes of pictures and recordings; text and special tokens have no precision.

    Args:
        precision: the other one, for people.
        vocabulary: which ids are codes.
    """

    def __init__(self, precision: str, vocabulary: Vocabulary) -> None:
        self._precision = precision
        specials = list(vocabulary.special_tokens.values())
        self._specials = np.array(sorted(specials), dtype=np.int64)
        self._kept = dict.fromkeys(_MODALITIES.values(), 0)
        self._codes = dict.fromkeys(_MODALITIES.values(), 0)

    def add(self, stored: Sequence[int], other: Encoding) -> None:
        """Count a row: its stored ids, and what the other precision makes of its input.

        Where repeats are merged rows may differ in length; then the longest common runs count.
        """
        ids = np.asarray(stored, dtype=np.int64)
        if len(ids) == len(other.ids):
            for kind, modality in _MODALITIES.items():
                is_code = (other.modality_ids == kind) & ~np.isin(ids, self._specials)
                self._kept[modality] += int((ids == other.ids)[is_code].sum())
                self._codes[modality] += int(is_code.sum())
            return
        modality = other.modality if other.modality in self._codes else "audio"
        a, b = (row[~np.isin(row, self._specials)].tolist() for row in (ids, other.ids))
        blocks = SequenceMatcher(a=a, b=b, autojunk=False).get_matching_blocks()
        self._kept[modality] += sum(block.size for block in blocks)
        self._codes[modality] += len(a)

    def lines(self) -> list[str]:
        """Return a line a modality: the share of the stored codes that stay."""
        return [
            f"against {self._precision}: {100 * self._kept[m] / count:.2f} % of {count:,} {m} "
            "codes stay"
            for m, count in self._codes.items()
            if count
        ]
