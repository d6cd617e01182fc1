"""Features of recordings from an engine, in the order of the files whoever has made them."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dvse.errors import CredentialsError, StorageError, TrainingError
from dvse.remote.remote_path import Location, RemotePath
from pipelines.engines.engine import Engine, Numbered
from pipelines.sources.places import file_place
from pipelines.sources.record import Failure, ItemRef, Record
from pipelines.training.audio.early_blocks import EarlyBlocks
from pipelines.training.audio.feature_step import FeatureStep

logger = logging.getLogger(__name__)

_TOGETHER = 64
"""Recordings that are tried again together where what encodes them dies."""
_AHEAD = 1 << 16
"""Recordings that may be done before one that is not."""
_OF_A_STORE = {error.__name__: error for error in (StorageError, CredentialsError)}


def engine_features(
    engine: Engine, step: FeatureStep, files: Sequence[Location], *, weights: str
) -> Iterator[np.ndarray]:
    """Yield the features `fp32 [frames, dim]` of recordings; the log says what cannot be read.

    Args:
        engine: unopened; closed in the end.
        step: what it does.
        files: seen under the same names wherever the engine computes.
        weights: hash of the encoder's, which has to be the one that is found there.

    Raises:
        TrainingError: none can be read, or another encoder lies where the engine computes.
        StorageError: a store does not answer.
    """
    with engine, EarlyBlocks() as early:
        found = engine.open(step).profile["weights"]
        if found != weights:
            raise TrainingError(
                f"the nodes of the cluster have another encoder (weights {found[:12]}) than this "
                f"machine ({weights[:12]}) under that name; give all of them the same files"
            )
        reasons: dict[int, str | None] = {}
        due = failed = 0

        def records() -> Iterator[Numbered | None]:
            for numbered in _records(files):
                while numbered.index >= due + _AHEAD:
                    yield None
                yield numbered

        outcomes = engine.run(records())
        for outcome in tqdm(outcomes, desc="features", total=len(files), unit="file", disable=None):
            if outcome.failure is not None:
                _refuse_store(outcome.failure)
                reasons[outcome.index] = outcome.failure.reason
                early.put(outcome.index, [])
            else:
                assert outcome.row is not None
                reasons[outcome.index] = outcome.row["reason"]
                early.put(outcome.index, outcome.row["blocks"])
            while due in reasons:
                yield from early.take(due)
                if (reason := reasons.pop(due)) is not None:
                    failed += 1
                    logger.warning("%s", reason)
                due += 1
    if failed == len(files):
        raise TrainingError(f"none of {failed} recordings could be read; see the messages above")


def _records(files: Sequence[Location]) -> Iterator[Numbered]:
    for index, path in enumerate(files):
        # Nodes are started in folders of their own.
        name = path.address if isinstance(path, RemotePath) else str(Path(path).absolute())
        ref = ItemRef(kind="audio", place=file_place(name))
        record = Record(id=name, source=name, refs=(ref,))
        yield Numbered(partition=index // _TOGETHER, index=index, record=record)


def _refuse_store(failure: Failure) -> None:
    if (kind := _OF_A_STORE.get(failure.type)) is not None:
        raise kind(failure.reason)
