"""A training checkpoint: written whole or not at all, and refused where it does not belong.

The file is written under a temporary name, flushed to disk and renamed, so that a kill at any
moment leaves the last complete one. It is torch's own format read with `weights_only` (no code
runs); it never enters a bundle.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dvse.errors import TrainingError
from pipelines.runs.storage import cannot_write


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write `state` (tensors and plain values), marked with what it was made from.

    Raises:
        TrainingError: the disk is full or cannot be written; the older checkpoint stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"identity": dict(identity), "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps a full disk in RuntimeError
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, "the checkpoint", error) from error


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the state in `path`, or `None` where there is no checkpoint yet.

    Raises:
        TrainingError: damaged, or made from other data or settings than `identity` says.
    """
    if not path.exists():
        return None
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        found, state = document["identity"], document["state"]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise TrainingError(
            f"{path}: expected a checkpoint of this command; delete it to start over"
        ) from error
    for name in sorted({*identity, *found}):
        if found.get(name) != identity.get(name):
            raise TrainingError(
                f"{path}: made with {name} = {found.get(name)!r}, now it is "
                f"{identity.get(name)!r}; give the same settings, or another output folder"
            )
    return state
