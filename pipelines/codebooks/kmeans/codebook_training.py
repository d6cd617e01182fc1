"""From features to a codebook: level by level, in the mode that was asked for and that fits."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from dvse.codebook import Codebook
from dvse.errors import ConfigError, TrainingError
from pipelines.codebooks.kmeans.centred import CentredFeatures, offset_of
from pipelines.codebooks.kmeans.faiss_lloyd import FaissLloyd
from pipelines.codebooks.kmeans.features import Features, ResidualFeatures
from pipelines.codebooks.kmeans.fitter import KMeansFit, KMeansFitter
from pipelines.codebooks.kmeans.growing_lloyd import growing
from pipelines.codebooks.kmeans.initialization import sample_of
from pipelines.codebooks.kmeans.lloyd import TorchLloyd
from pipelines.codebooks.kmeans.mini_batch import MiniBatch
from pipelines.codebooks.kmeans.partial_sums import PartialSums
from pipelines.codebooks.settings import KMeansSettings
from pipelines.runs.processes import Processes

MODES: Mapping[str, Callable[..., KMeansFitter]] = MappingProxyType(
    {"lloyd": TorchLloyd, "minibatch": MiniBatch, "faiss": FaissLloyd}
)


@dataclass(frozen=True, kw_only=True)
class CodebookFit:
    """A codebook and how it came to be.

    Attributes:
        codebook: the centroids of all levels.
        levels: a fit for each level.
        mean_squared_distance: of this process's features from their decoded codes, all levels.
    """

    codebook: Codebook
    levels: tuple[KMeansFit, ...]
    mean_squared_distance: float


def make_fitter(mode: str, **options: Any) -> KMeansFitter:
    """Return the fitter of a mode.

    Raises:
        ConfigError: an unknown mode.
        MissingExtraError: its library is not installed.

    >>> make_fitter("lloyd", product="bfloat16").name
    'lloyd'
    """
    if mode not in MODES:
        raise ConfigError(f"expected a k-means mode of {sorted(MODES)}, received {mode!r}")
    return MODES[mode](**options)


def train_codebook(
    features: Features,
    settings: KMeansSettings,
    *,
    fitter: KMeansFitter | None = None,
    kept: Tensor | None = None,
    checkpoints: Path | None = None,
) -> CodebookFit:
    """Fit residual levels of centroids to features.

    Args:
        features: this process's rows.
        settings: numbers of codes and levels, passes, seed.
        fitter: the mode; torch Lloyd on the CPU by default.
        kept: centroids `[num_levels, K0, dim]` that stay the first of each level, bit for bit.
        checkpoints: folder for progress, a file a level; a killed run that is started again goes
            on from there and ends with the same centroids. Delete it when the codebook is saved.

    Raises:
        ConfigError: kept centroids of another shape, or with another mode than Lloyd's.
        TrainingError: see `KMeansFitter.fit`, or a mode that needs more memory than there is.

    >>> import numpy as np
    >>> from pipelines.codebooks.kmeans.features import ArrayFeatures
    >>> rows = np.repeat(np.float32([[0, 0], [4, 0], [0, 4]]), 5, axis=0)
    >>> fit = train_codebook(ArrayFeatures(rows), KMeansSettings(num_codes=3))
    >>> sorted(fit.codebook.centroids[0].tolist()), fit.mean_squared_distance
    ([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]], 0.0)
    """
    fitter = fitter or TorchLloyd()
    if kept is not None:
        _check_kept(kept, features, settings)
    check_memory(fitter, features, settings)
    _make_folder(checkpoints)
    offset = Processes().from_first(offset_of(sample_of(features, settings).cpu()))
    if offset.any():
        features = CentredFeatures(features, offset)
    fits: list[KMeansFit] = []
    codes: list[Tensor] = []
    rest = features
    for level in range(settings.num_levels):
        path = None if checkpoints is None else checkpoints / f"level-{level}.ckpt"
        mine = fitter if kept is None else growing(fitter, kept[level] - offset * (level == 0))
        fit = mine.fit(rest, settings, checkpoint=path)
        if level == 0:  # what fp32 keeps of it where the features lie is what is measured
            fit = replace(fit, centroids=(fit.centroids + offset) - offset)
        fits.append(fit)
        found = _assign(rest, fits[-1].centroids.to(fitter.device))
        codes.append(found.codes)
        if level + 1 < settings.num_levels:
            rest = ResidualFeatures(
                features, [fit.centroids for fit in fits], torch.stack(codes, dim=1)
            )
    fits[0] = replace(fits[0], centroids=fits[0].centroids + offset)
    return CodebookFit(
        codebook=_joined(fits, kept),
        levels=tuple(fits),
        mean_squared_distance=found.inertia / features.num_rows,
    )


def check_memory(
    fitter: KMeansFitter,
    features: Features,
    settings: KMeansSettings,
    *,
    limit_bytes: int | None = None,
) -> int:
    """Return the bytes that a mode needs, if there is room for them.

    Raises:
        TrainingError: there is not; the message names the mode that fits.
    """
    limit = _free_bytes() if limit_bytes is None else limit_bytes
    needed = fitter.memory_bytes(features, settings)
    if needed <= limit:
        return needed
    others = {}
    for name, make in MODES.items():
        try:
            others[name] = make().memory_bytes(features, settings)
        except ImportError:
            continue
    fitting = {name: size for name, size in others.items() if size <= limit}
    if fitting:
        best = min(fitting, key=lambda name: list(MODES).index(name))
        advice = f"use mode {best!r}, which needs {_gigabytes(fitting[best])}"
    else:
        advice = "no mode fits; ask for fewer codes or free some memory"
    raise TrainingError(
        f"k-means mode {fitter.name!r} needs {_gigabytes(needed)} of memory for "
        f"{features.num_rows} vectors of width {features.dim} and {settings.num_codes} codes, "
        f"there are {_gigabytes(limit)}; {advice}"
    )


def _joined(fits: Sequence[KMeansFit], kept: Tensor | None) -> Codebook:
    centroids = torch.stack([fit.centroids for fit in fits])
    if kept is not None:
        centroids[:, : kept.shape[1]] = kept.cpu()  # to the last bit
    return Codebook(centroids)


def _make_folder(checkpoints: Path | None) -> None:
    if checkpoints is None:
        return
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{checkpoints}: cannot be written; {error.strerror}; choose another folder"
        ) from error


def _check_kept(kept: Tensor, features: Features, settings: KMeansSettings) -> None:
    num_levels, num_kept, dim = kept.shape
    if dim != features.dim or num_levels != settings.num_levels:
        raise ConfigError(
            f"expected kept centroids of {settings.num_levels} levels and {features.dim} channels, "
            f"received {num_levels} and {dim}; say --num-levels {num_levels}"
        )
    if settings.num_codes <= num_kept:
        raise ConfigError(
            f"expected more codes than the {num_kept} that are kept, received {settings.num_codes}"
        )


@dataclass(frozen=True, kw_only=True)
class _Assignment:
    codes: Tensor
    inertia: float


def _assign(features: Features, centroids: Tensor) -> _Assignment:
    """Return the nearest code `int32 [num_rows]` of each row, and the inertia."""
    sums = PartialSums(centroids)
    codes = torch.empty(features.num_rows, dtype=torch.int32)
    at = 0
    for block in features.blocks(sums.block_rows):
        codes[at : at + len(block)] = sums.add(block.to(centroids.device)).cpu()
        at += len(block)
    return _Assignment(codes=codes, inertia=sums.inertia())


def _free_bytes() -> int:
    """Return the memory that can be had without swapping; 16 GB where the system cannot say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 16 * 2**30


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
