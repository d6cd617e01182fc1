"""The log of a training: lines of JSON in any case, and TensorBoard's files beside them."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvse.errors import TrainingError
from dvse.storage.atomic_file import write_atomically
from pipelines.runs.storage import cannot_write

logger = logging.getLogger(__name__)

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class TrainingLog:
    """Scalars by step for TensorBoard, and a line an epoch in `log.jsonl`.

    Without TensorBoard installed only the lines are written, and that is said once.

    Args:
        folder: where both go.
        first_step: of this run; what a killed run logged beyond it is hidden by TensorBoard.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        self._folder = folder
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.warning("no TensorBoard log: install it with pip install 'dvse[train]'")
            return
        try:
            self._writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=first_step)
        except OSError as error:
            raise self._cannot_write(error) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Replace `log.jsonl`.

        Raises:
            TrainingError: the disk is full.
        """
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            write_atomically(self._folder / LOG_FILE, text.encode())
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Flush and close; a full disk costs the last scalars, never the training."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                logger.warning("%s", self._cannot_write(error))

    def _cannot_write(self, error: OSError) -> TrainingError:
        return cannot_write(self._folder, "the log", error)
