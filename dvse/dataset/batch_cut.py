"""How the windows of an epoch are cut into the batches of ranks and workers.

    window    0 1 2 3 4 5 6 7 8 …        batch_size 2, 2 ranks
    batch     └0┘ └1┘ └0┘ └1┘ └0┘
    rank       0   1   0   1   0

One step takes the next `num_ranks · batch_size` windows, a batch a rank; the batches of a rank go
to its workers in turn, as a `DataLoader` asks them. So the ranks' batches put side by side are
always the windows in their order, whatever the number of ranks and workers, and "how far" is one
number: the windows used.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BatchCut:
    """The batches of one worker of one rank.

    Attributes:
        first_window: where the cutting begins; what comes before was used already.
        batch_size: windows a batch.
        rank, num_ranks: which batch of each step.
        worker, num_workers: which steps: every `num_workers`-th from `worker` on.
    """

    first_window: int
    batch_size: int
    rank: int
    num_ranks: int
    worker: int = 0
    num_workers: int = 1

    def num_steps(self, num_windows: int, *, drop_last: bool) -> int:
        """Return the batches of a rank, all its workers together; equal for all ranks.

        Args:
            num_windows: of the epoch.
            drop_last: leave out the last step where it is not full.
        """
        left = max(num_windows - self.first_window, 0)
        size = self.batch_size * self.num_ranks
        return left // size if drop_last else -(-left // size)

    def window_after(self, num_steps: int) -> int:
        """Return the first window that is not used after so many steps of all ranks."""
        return self.first_window + num_steps * self.num_ranks * self.batch_size

    def windows(self, steps: np.ndarray) -> np.ndarray:
        """Return the first window of this rank's batch in each of some steps."""
        return self.first_window + (steps * self.num_ranks + self.rank) * self.batch_size

    def is_mine(self, window: np.ndarray) -> np.ndarray:
        """Return for each window whether a batch of this worker holds it, as `bool`."""
        batch = (window - self.first_window) // self.batch_size
        is_mine = batch % (self.num_ranks * self.num_workers) == self.share
        return is_mine & (batch >= 0)

    @property
    def share(self) -> int:
        """Number of this worker among all of all ranks."""
        return self.worker * self.num_ranks + self.rank
