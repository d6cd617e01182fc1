"""What tokenizers of recordings share, whoever computes the codes: how a recording is prepared."""

import numpy as np

from dvse.audio.merging import Merged, merge_repeats
from dvse.audio.preparer import AudioPreparer
from dvse.media_tokenizer import MediaTokenizer


class RecordingTokenizer(MediaTokenizer):
    """Recordings → codes `[frames, num_levels]`.

    Attributes:
        merge_repeats: a run of equal codes becomes one unit with its duration.
    """

    merge_repeats: bool
    _preparer: AudioPreparer

    @property
    def preparer(self) -> AudioPreparer:
        """The half that decode workers run."""
        return self._preparer

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the samples in a chunk."""
        return self._preparer.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Codes a second, before repeats are merged."""
        return self.sample_rate_hz / self._preparer.grid.stride

    def merge(self, codes: np.ndarray) -> Merged:
        """Return the units of a whole recording: merged, where this tokenizer merges repeats.

        Args:
            codes: `int32 [frames, num_levels]`, all windows joined (a run may cross them).
        """
        return merge_repeats(codes) if self.merge_repeats else Merged(codes, None)

    @property
    def max_chunk_tokens(self) -> int:
        """The most tokens of one chunk: the frames of a full window."""
        return self._preparer.windowing.full_frames(self._preparer.grid)

    def batch_rows(self, shape: tuple[int, ...]) -> int:
        """Return the rows of every forward pass over chunks of `shape`, samples first.

        Only full windows share one.
        """
        if shape[0] != self._preparer.windowing.full_samples(self._preparer.grid):
            return 1
        return self._rows(self.max_chunk_tokens)

    def num_tokens(self, shape: tuple[int, ...]) -> int:
        """Return the tokens of a chunk of `shape`, samples first: its frames."""
        return self._preparer.grid.num_frames(shape[0])
