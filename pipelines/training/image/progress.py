"""How far a training has come: what a checkpoint keeps of it, and what its log says."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint
from pipelines.runs.log import TrainingLog
from pipelines.training.image.codec import ImageCodec
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.scores import score_codec

CHECKPOINT_FILE = "checkpoint.pt"

_SCALARS_EVERY = 20  # steps


class Progress:
    """Steps taken, losses of the epoch, lines of the log; only the first process writes.

    Args:
        folder: of checkpoint and log.
        identity: what a checkpoint must agree with.
        codec, optimizer, scaler: whose state is kept; the scaler may be `None`.
        steps_per_epoch: over which losses are averaged.
        is_first: whether this process writes.
        resume: go on from the checkpoint, where there is one.

    Attributes:
        step: the next one.
        lines: of the log, one for each epoch that is over.

    Raises:
        TrainingError: a checkpoint of other settings or data.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        codec: ImageCodec,
        optimizer: torch.optim.Optimizer,
        scaler: Any,
        steps_per_epoch: int,
        is_first: bool,
        resume: bool,
    ) -> None:
        self.step = 0
        self.lines: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._path, self._identity = folder / CHECKPOINT_FILE, identity
        self._codec, self._optimizer, self._scaler = codec, optimizer, scaler
        self._steps_per_epoch = steps_per_epoch
        if resume and (state := load_checkpoint(self._path, identity)) is not None:
            codec.load_state_dict(state["codec"])
            optimizer.load_state_dict(state["optimizer"])
            if scaler is not None:
                scaler.load_state_dict(state["scaler"])
            self.step, self._sums, self.lines = state["step"], state["sums"], state["log"]
        self._log = TrainingLog(folder, first_step=self.step) if is_first else None

    @property
    def is_epoch_over(self) -> bool:
        """Whether the last step ended an epoch."""
        return self.step % self._steps_per_epoch == 0

    def take(self, losses: Mapping[str, float], learning_rate: float) -> None:
        """Count a step with its losses."""
        step, self.step = self.step, self.step + 1
        if step % self._steps_per_epoch == 0:
            self._sums = {}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if self._log is not None and (self.is_epoch_over or step % _SCALARS_EVERY == 0):
            self._log.scalars(step, {f"train/{k}": v for k, v in losses.items()})
            self._log.scalars(step, {"learning_rate": learning_rate})

    def end_epoch(self, validation: Pictures | None) -> None:
        """Add a line of mean losses, and of scores on pictures that are held out."""
        if self._log is None:
            return
        means = {n: round(value / self._steps_per_epoch, 5) for n, value in self._sums.items()}
        line: dict[str, Any] = {"epoch": self.step // self._steps_per_epoch, **means}
        if validation is not None:
            line["validation"] = asdict(score_codec(self._codec, validation))
            scores = {k: v for k, v in line["validation"].items() if v is not None}
            self._log.scalars(self.step - 1, {f"validation/{k}": v for k, v in scores.items()})
        self.lines.append(line)
        tqdm.write(json.dumps(line))

    def save(self) -> None:
        """Write checkpoint and log.

        Raises:
            TrainingError: the disk is full; the older checkpoint stays.
        """
        if self._log is None:
            return
        state = {
            "codec": self._codec.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler and self._scaler.state_dict(),
            "step": self.step,
            "sums": self._sums,
            "log": self.lines,
        }
        save_checkpoint(self._path, self._identity, state)
        self._log.lines(self.lines)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
