"""The fewest tokens that a row can have, from headers and sizes alone: nothing is decoded.

So a request that can never fit is told so before megabytes are read as pictures or as text.
"""

import io
from collections.abc import Sequence

import soundfile
from PIL import Image as PilImage

from dvse.audio.preparer import AudioPreparer
from dvse.image.preparer import ImagePreparer
from dvse.items import Audio, Image, Item, Text
from dvse.tokenizer import Tokenizer

_BRACKETS = 2
_AT_LEAST_ONE = _BRACKETS + 1


class LengthBound:
    """Bounds rows of one tokenizer from below.

    >>> import dvse
    >>> bound = LengthBound(dvse.load("tiny"))
    >>> bound.least_tokens([Text("a" * 46_000)]) >= 1000
    True
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        text = tokenizer.text
        self._longest_piece = max(len(text.piece_bytes(i)) for i in range(text.size))
        self._preparer = tokenizer.preparer
        self._levels = {m: tokenizer.vocabulary.num_levels(m) for m in tokenizer.sections}
        self._longest_run = int(tokenizer.vocabulary.runs.lengths.max(initial=1))
        self._merges = tokenizer.audio is not None and tokenizer.audio.merge_repeats

    def least_tokens(self, items: Sequence[Item]) -> int:
        """Return a number that the row has at least; what cannot be read counts as one code."""
        return sum(self._least(item) for item in items)

    def _least(self, item: Item) -> int:
        if isinstance(item, Text):
            return -(-len(item.text.encode("utf-8", "replace")) // self._longest_piece)
        try:
            if isinstance(item, Image) and isinstance(item.source, bytes):
                return self._of_picture(item.source)
            if isinstance(item, Audio) and isinstance(item.source, bytes):
                return self._of_recording(item.source)
        except Exception:  # a damaged header: whoever decodes it says what is wrong
            return _AT_LEAST_ONE
        return 1

    def _of_picture(self, data: bytes) -> int:
        preparer = self._preparer.image
        if not isinstance(preparer, ImagePreparer):
            return 1
        with PilImage.open(io.BytesIO(data)) as picture:
            size = picture.size
        # Lying on its side or not: the grid is turned with it, and has as many places.
        rows, columns = preparer.geometry.place(*size).grid
        return _BRACKETS + rows * columns * self._levels["image"]

    def _of_recording(self, data: bytes) -> int:
        preparer = self._preparer.audio
        if not isinstance(preparer, AudioPreparer) or self._merges:
            return _AT_LEAST_ONE
        info = soundfile.info(io.BytesIO(data))
        samples = info.frames * preparer.sample_rate_hz // info.samplerate
        num_codes = preparer.grid.num_frames(samples) * self._levels["audio"]
        return _BRACKETS + -(-num_codes // self._longest_run)
