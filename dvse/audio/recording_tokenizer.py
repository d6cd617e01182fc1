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

    def _rows(self, shape: tuple[int, ...], batch_frames: int) -> int:
        """Rows of a batch of chunks of `shape`, samples first: only full windows share one."""
        windowing, grid = self._preparer.windowing, self._preparer.grid
        if shape[0] != windowing.full_samples(grid):
            return 1
        return max(1, batch_frames // windowing.full_frames(grid))
