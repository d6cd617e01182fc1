"""From a stream of frames to a codebook of units: what is kept of the frames, and how it is fitted.

By default a bounded uniform sample is held in memory. `keep_features` spills all frames to files
that are mapped into memory, for passes over all of them; they are used again when the command is
repeated, and a run that was killed goes on from its last checkpoint. Under `torchrun` each process
holds its own recordings' frames.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dvse.codebook import Codebook
from dvse.errors import TrainingError
from pipelines.codebooks.kmeans import (
    ArrayFeatures,
    CodebookFit,
    Features,
    FeatureStore,
    FeatureStoreWriter,
    KMeansFitter,
    Reservoir,
    check_memory,
    make_fitter,
    train_codebook,
)
from pipelines.codebooks.kmeans.feature_store import MANIFEST
from pipelines.codebooks.kmeans.features import RowSubset
from pipelines.codebooks.settings import Clustering, KMeansSettings
from pipelines.codebooks.usage import count_codes
from pipelines.runs.processes import Processes

logger = logging.getLogger(__name__)

FEATURES_FOLDER = "features"
CHECKPOINTS_FOLDER = "kmeans"


@dataclass(frozen=True, kw_only=True)
class Units:
    """A codebook, the figures of fitting it, and how many frames of this process it was shown."""

    codebook: Codebook
    figures: Mapping[str, Any]
    num_seen: int


def cluster(
    frames: Callable[[], Iterator[np.ndarray]],
    output: Path,
    clustering: Clustering,
    *,
    dim: int,
    about: Mapping[str, Any],
    kept: Tensor | None = None,
) -> Units:
    """Fit a codebook to this process's frames.

    Args:
        frames: called once for arrays `[n, dim]`, unless kept features are there already.
        output: folder for kept features and checkpoints.
        dim: width of a frame.
        about: what the frames are of; kept features of something else are refused.
        kept: centroids `[num_levels, K0, dim]` that stay the first of each level.

    Raises:
        ConfigError: kept centroids that do not fit, or with another mode than lloyd.
        TrainingError: fewer different frames than codes, frames that are not finite, a mode that
            needs more memory than there is, a checkpoint or kept features of something else, or a
            full disk.
    """
    processes, fitter = Processes(), _fitter(clustering)
    checkpoints = output / CHECKPOINTS_FOLDER
    features: Features
    if clustering.features is not None:
        features = _share(_checked(FeatureStore.open(clustering.features), about), processes)
        num_seen = features.num_rows
    elif clustering.keep_features:
        features = _stored(frames, _store_folder(output, processes), dim=dim, about=about)
        num_seen = features.num_rows
    else:
        sample = Reservoir(
            capacity=max(1, clustering.max_features // processes.count), seed=clustering.kmeans.seed
        )
        for block in frames():
            sample.add(block)
        features, num_seen = ArrayFeatures(sample.vectors), sample.num_seen
    needed = check_memory(fitter, features, clustering.kmeans)
    logger.info(
        "clustering %d of %d frames, %.0f MB %s; k-means mode %s adds %.0f MB",
        features.num_rows,
        num_seen,
        4 * features.num_rows * features.dim / 1e6,
        "in memory" if features.in_memory else "on disk",
        clustering.mode,
        needed / 1e6,
    )
    fit = train_codebook(
        features, clustering.kmeans, fitter=fitter, kept=kept, checkpoints=checkpoints
    )
    num_rows = processes.place(features.num_rows)[1]
    figures = _figures(fit, features, num_rows, clustering.kmeans)
    return Units(codebook=fit.codebook, figures=figures, num_seen=num_seen)


def _figures(
    fit: CodebookFit, features: Features, num_rows: int, kmeans: KMeansSettings
) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "clustered_frames": num_rows,
        "mean_squared_distance": round(fit.mean_squared_distance, 6),
    }
    codes = np.concatenate(
        [fit.codebook.encode(block).cpu().numpy() for block in features.blocks(65_536)]
    )
    for level in range(kmeans.num_levels):
        used = count_codes(codes[:, level], kmeans.num_codes)
        suffix = f"_level_{level}" if level else ""
        figures |= {
            f"clustered_codes_used{suffix}": round(used.share_used, 4),
            f"clustered_perplexity{suffix}": round(used.perplexity, 1),
        }
    return figures


def remove_progress(output: Path) -> None:
    """Delete the checkpoints of a codebook that is saved; kept features stay."""
    shutil.rmtree(output / CHECKPOINTS_FOLDER, ignore_errors=True)


def _fitter(clustering: Clustering) -> KMeansFitter:
    if clustering.mode != "lloyd":
        return make_fitter(clustering.mode)
    device = "cpu" if clustering.device == "auto" else clustering.device
    return make_fitter("lloyd", device=device, product="bfloat16" if clustering.bf16 else "float32")


def _store_folder(output: Path, processes: Processes) -> Path:
    folder = output / FEATURES_FOLDER
    return folder if processes.count == 1 else folder / f"{processes.rank}-of-{processes.count}"


def _stored(
    frames: Callable[[], Iterator[np.ndarray]], folder: Path, *, dim: int, about: Mapping[str, Any]
) -> FeatureStore:
    if not (folder / MANIFEST).exists():
        with FeatureStoreWriter(folder, dim=dim, about=about) as writer:
            for block in frames():
                writer.add(block)
        return FeatureStore.open(folder)
    store = _checked(FeatureStore.open(folder), about)
    logger.info("%s: %d frames kept by an earlier run", folder, store.num_rows)
    return store


def _share(features: FeatureStore, processes: Processes) -> Features:
    """The rows of this process, in one piece."""
    if processes.count == 1:
        return features
    ends = [features.num_rows * rank // processes.count for rank in range(processes.count + 1)]
    return RowSubset(features, np.arange(ends[processes.rank], ends[processes.rank + 1]))


def _checked(store: FeatureStore, about: Mapping[str, Any]) -> FeatureStore:
    """The store, if its features are what is meant.

    Raises:
        TrainingError: they are of something else.
    """
    for name in sorted({*about, *store.about}):
        if store.about.get(name) != about.get(name):
            raise TrainingError(
                f"{store.name}: these features were kept with {name} = "
                f"{store.about.get(name)!r}, now it is {about.get(name)!r}; give the same "
                "settings, delete the folder, or choose another --output"
            )
    return store
