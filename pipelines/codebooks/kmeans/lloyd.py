"""K-means by Lloyd's algorithm in torch, warmed up on growing parts of the features.

Lloyd 1982, "Least squares quantization in PCM". Passes over 1/16, 1/8, 1/4 and 1/2 of the rows
come before those over all of them: while centroids move far, few rows tell as well as many where
to (nested samples: Newling & Fleuret 2016, "Nested Mini-Batch K-Means").

*Deviations:* each part is drawn for itself; parts have at least 16 rows a code. In passes over
half of the rows and more, but the last, a centroid goes 1.8 times as far as its mean lies: while
rows keep their codes the inertia is a parabola of that factor, lowest at 1 and as it was at 2, and
where they change them it falls further (over-relaxation: Salakhutdinov & Roweis 2003, "Adaptive
Overrelaxed Bound Optimization Methods"). So fewer passes are needed.

Several processes (`torch.distributed`) hold different rows; their partial sums are all-reduced,
so the centroids are those that one process would find.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans.features import ArrayFeatures, Features, RowSubset
from pipelines.codebooks.kmeans.fitter import KMeansFit, KMeansFitter
from pipelines.codebooks.kmeans.initialization import (
    SAMPLE_ROWS_A_CODE,
    first_centroids,
    split_for_empty,
    with_all_different,
)
from pipelines.codebooks.kmeans.partial_sums import PartialSums, Product
from pipelines.codebooks.kmeans.sampling import stratified_rows
from pipelines.codebooks.settings import KMeansSettings
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint
from pipelines.runs.processes import Processes, device_of_process

logger = logging.getLogger(__name__)

WARM_UP = ((16, 5), (8, 4), (4, 3), (2, 2))
"""Every how many-th row is read, and how many passes are made over them."""

OVER_RELAXATION = 1.8
"""How far a centroid goes, its mean being at 1."""

_RELAXED_FROM = 2  # every so-manieth row at most: means of fewer rows are too uncertain
_ROWS_A_CODE = 16
_HELD_BYTES = 400_000_000


class TorchLloyd(KMeansFitter):
    """Lloyd's algorithm on a processor, on a GPU, or on several.

    Args:
        device: `cpu`, `cuda` (with torchrun: each process its own), or `cuda:N`.
        product: `bfloat16` for the products of rows and centroids; sums are exact either way.
        warm_up: pairs of every-how-many-th row and passes, before the passes over all rows.
    """

    name = "lloyd"

    def __init__(
        self,
        *,
        device: str = "cpu",
        product: Product = "float32",
        warm_up: tuple[tuple[int, int], ...] = WARM_UP,
    ) -> None:
        self.device, self.product, self.warm_up = device_of_process(device), product, warm_up
        self.identity: Mapping[str, Any] = {
            "mode": self.name,
            "product": product,
            "warm_up": [list(stage) for stage in warm_up],
            "over_relaxation": OVER_RELAXATION,
        }

    def memory_bytes(self, features: Features, settings: KMeansSettings) -> int:
        """Return the bytes for the sample, a held part, the sums and a block's scores."""
        row = 4 * features.dim
        sample = min(features.num_rows, SAMPLE_ROWS_A_CODE * settings.num_codes) * row
        held = 0 if features.in_memory else min(_HELD_BYTES, features.num_rows * row)
        if features.in_memory and self.warm_up:
            held = min(_HELD_BYTES, features.num_rows * row // 2)
        return 3 * sample + held + settings.num_codes * row * 10 + 32_000_000

    def fit(
        self, features: Features, settings: KMeansSettings, *, checkpoint: Path | None = None
    ) -> KMeansFit:
        """Fit centroids to all features, block by block."""
        processes = Processes()
        start, total = processes.place(features.num_rows)
        state = self._begin(features, settings, processes, start, total, checkpoint)
        identity = self._identity(features, settings, processes, total)
        stages = self._stages(total, settings)
        for number in range(state.stage, len(stages)):
            group, num_passes = stages[number]
            if number > state.stage:
                state.stage, state.passes_made, state.last_inertia = number, 0, None
            if state.is_settled and number == len(stages) - 1:
                break
            part = self._part(features, group, seed=settings.seed + number, start=start)
            is_full = number == len(stages) - 1
            while state.passes_made < num_passes:
                beyond = self._pass(part, state, settings, processes)
                if is_full:
                    state.full_passes += 1
                    state.check_settled(settings.tolerance)
                is_last = is_full and (state.is_settled or state.passes_made == num_passes)
                if group <= _RELAXED_FROM and not is_last:
                    state.centroids = beyond
                if checkpoint is not None and processes.rank == 0:
                    save_checkpoint(checkpoint, identity, state.to_dict())
                if state.is_settled:
                    break
        return KMeansFit(
            centroids=state.centroids.cpu(),
            num_passes=state.full_passes,
            num_reseeded=state.num_reseeded,
            history=tuple(state.history),
        )

    def _pass(
        self, part: Features, state: "_State", settings: KMeansSettings, processes: Processes
    ) -> Tensor:
        """Put each centroid where its mean is; return where it would be beyond that."""
        before = state.centroids
        sums = PartialSums(state.centroids, product=self.product)
        for block in part.blocks(sums.block_rows):
            sums.add(block.to(self.device, non_blocking=True))
        sums.set_state(processes.add_up(sums.state()))
        inertia, num_rows = sums.inertia(), float(sums.counts.sum())
        if not math.isfinite(inertia):
            raise TrainingError(
                "expected finite features, received NaN or infinity; check the encoder and its "
                "input"
            )
        seed = settings.seed + 1000 * len(state.history)
        counts = self.claimed(sums.counts)
        means = sums.means()
        reseeded = split_for_empty(means.clone(), counts, sums.inertias(), seed=seed)
        is_split = (reseeded.centroids != means).any(1, keepdim=True)
        beyond = torch.lerp(before, means, OVER_RELAXATION)
        beyond = self.settle(torch.where(is_split, reseeded.centroids, beyond))
        state.centroids = self.settle(reseeded.centroids)
        state.num_reseeded += reseeded.num_empty
        state.history.append(inertia / num_rows)
        state.passes_made += 1
        logger.info(
            "pass %d over %d rows: mean squared distance %.6g, %d empty clusters",
            len(state.history),
            num_rows,
            inertia / num_rows,
            reseeded.num_empty,
        )
        return beyond

    def _begin(
        self,
        features: Features,
        settings: KMeansSettings,
        processes: Processes,
        start: int,
        total: int,
        checkpoint: Path | None,
    ) -> "_State":
        saved = None
        identity = self._identity(features, settings, processes, total)
        if checkpoint is not None:
            error = None
            try:
                if processes.rank == 0:
                    saved = load_checkpoint(checkpoint, identity)
            except TrainingError as failure:
                error = failure
            saved, error = processes.from_first((saved, error))
            if error is not None:
                raise error
        if saved is not None:
            return _State.from_dict(saved, self.device)
        group = max(1, total // (SAMPLE_ROWS_A_CODE * settings.num_codes))
        rows = stratified_rows(
            start, start + features.num_rows, group=group, seed=settings.seed + 99
        )
        sample = processes.together(features.take(rows - start).cpu())
        more = with_all_different(sample, features, settings)[len(sample) :]
        sample = torch.cat([sample, processes.together(more)]).to(self.device)
        return _State(centroids=self.begin_with(sample, settings, total=total))

    def begin_with(self, sample: Tensor, settings: KMeansSettings, *, total: int) -> Tensor:
        """Return the centroids to begin with, out of a `sample` of `total` rows."""
        return first_centroids(sample, settings, total=total)

    def claimed(self, counts: Tensor) -> Tensor:
        """Return the rows of each cluster; one with none is given new ones."""
        return counts

    def settle(self, centroids: Tensor) -> Tensor:
        """Return the centroids after a pass; what must not move goes back to its place here."""
        return centroids

    def _identity(
        self, features: Features, settings: KMeansSettings, processes: Processes, total: int
    ) -> dict[str, Any]:
        own = features.fingerprint() if processes.rank == 0 else ""
        return {**self.identity, **settings.to_dict(), "rows": total, "features": own}

    def _stages(self, total: int, settings: KMeansSettings) -> list[tuple[int, int]]:
        enough = _ROWS_A_CODE * settings.num_codes
        warm_up = [(group, n) for group, n in self.warm_up if total // group >= enough]
        return [*warm_up, (1, settings.num_passes)]

    def _part(self, features: Features, group: int, *, seed: int, start: int) -> Features:
        """Return the rows of a stage; held on the device where they are few or lie there."""
        part = features
        if group > 1:
            stop = start + features.num_rows
            rows = stratified_rows(start, stop, group=group, seed=seed) - start
            part = RowSubset(features, rows)
        size = part.num_rows * part.dim * 4
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            fits = size < 0.6 * free
        else:
            fits = not part.in_memory and size <= _HELD_BYTES
        if fits and part.num_rows:
            return ArrayFeatures(_read_all(part, self.device))
        return part


@dataclass(kw_only=True)
class _State:
    """How far a fit has come: all that a resumed run needs."""

    centroids: Tensor
    stage: int = 0
    passes_made: int = 0
    full_passes: int = 0
    num_reseeded: int = 0
    is_settled: bool = False
    last_inertia: float | None = None

    def __post_init__(self) -> None:
        self.history: list[float] = []

    def check_settled(self, tolerance: float) -> None:
        now = self.history[-1]
        if self.last_inertia is not None:
            self.is_settled = self.last_inertia - now <= tolerance * self.last_inertia
        self.last_inertia = now

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "centroids": self.centroids.cpu()}

    @classmethod
    def from_dict(cls, document: dict[str, Any], device: torch.device) -> "_State":
        history = document.pop("history")
        state = cls(**{**document, "centroids": document["centroids"].to(device)})
        state.history = history
        return state


def _read_all(features: Features, device: torch.device) -> Tensor:
    held = torch.empty(features.num_rows, features.dim, device=device)
    for at, block in _numbered_blocks(features):
        held[at : at + len(block)] = block
    return held


def _numbered_blocks(features: Features) -> Iterator[tuple[int, Tensor]]:
    at = 0
    for block in features.blocks(16384):
        yield at, block
        at += len(block)
