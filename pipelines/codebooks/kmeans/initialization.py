"""First centroids, and new ones for clusters that ran empty.

k-means++ draws each centroid with a chance proportional to its squared distance from those drawn
before (Arthur & Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding", 2.2).

*Deviations:* many codes are drawn in rounds of K/128 at once, as k-means|| does (Bahmani et al.
2012, "Scalable K-Means++"), from a sample; fewer than 256 are drawn one by one.

An empty cluster takes half of the cluster with the largest inertia: two centroids, pushed apart in
a random direction (splitting, as in Linde, Buzo & Gray 1980). Clusters of equal rows, silence for
example, have no inertia and are never split.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans.features import Features
from pipelines.codebooks.kmeans.sampling import stratified_rows
from pipelines.codebooks.settings import KMeansSettings

SAMPLE_ROWS_A_CODE = 32
"""Size of the sample that first centroids are drawn from."""

_ROUNDS = 128
_PUSH = 0.01  # of the spread: in many dimensions a wide step leaves the cluster


def first_centroids(sample: Tensor, settings: KMeansSettings, *, total: int) -> Tensor:
    """Return the centroids to begin with, rows of a `sample` `[n, dim]` of `total` rows.

    Raises:
        TrainingError: see `check_sample`.
    """
    check_sample(sample, settings.num_codes, total=total)
    choose = kmeans_plus_plus if settings.initialization == "kmeans++" else random_rows
    return choose(sample, settings.num_codes, seed=settings.seed)


def sample_of(features: Features, settings: KMeansSettings) -> Tensor:
    """Return about `SAMPLE_ROWS_A_CODE` rows a code of all features, one out of each stretch."""
    group = max(1, features.num_rows // (SAMPLE_ROWS_A_CODE * settings.num_codes))
    return features.take(
        stratified_rows(0, features.num_rows, group=group, seed=settings.seed + 99)
    )


def with_all_different(sample: Tensor, features: Features, settings: KMeansSettings) -> Tensor:
    """Return a sample that has rows for all codes, if the features have them anywhere.

    A sample of data that mostly repeats itself (silence, say) may miss the few rows that differ:
    then all features are read, and the first rows of each kind are added.

    Args:
        sample: see `sample_of`.
        features: to be read where the sample's different rows are fewer than the codes.
        settings: the number of codes.
    """
    found = set(np.unique(_keys(sample)).tolist())
    if len(found) >= settings.num_codes:
        return sample
    more: list[Tensor] = []
    enough = SAMPLE_ROWS_A_CODE * settings.num_codes
    for block in features.blocks(4096):
        keys, first = np.unique(_keys(block), return_index=True)
        new = [int(at) for key, at in zip(keys.tolist(), first, strict=True) if key not in found]
        more.append(block[sorted(new)].to(sample.device))
        found.update(keys.tolist())
        if len(found) >= enough:
            break
    return torch.cat([sample, *more])


def share_of_equal_rows(sample: Tensor) -> float:
    """Return the share of a sample `[n, dim]` that its most frequent row has.

    >>> share_of_equal_rows(torch.tensor([[1.0], [1.0], [1.0], [2.0]]))
    0.75
    """
    _, counts = np.unique(_keys(sample), return_counts=True)
    return float(counts.max() / len(sample))


def check_sample(sample: Tensor, num_codes: int, *, total: int) -> None:
    """Check rows drawn from all features, before anything is computed from them.

    Raises:
        TrainingError: fewer rows or fewer different rows than codes, or values that are not finite.
    """
    if total < num_codes:
        raise TrainingError(
            f"expected at least {num_codes} vectors for {num_codes} codes, received {total}; give "
            "more data or ask for fewer codes"
        )
    if not torch.isfinite(sample).all():
        raise TrainingError(
            "expected finite features, received NaN or infinity; check the encoder and its input"
        )
    different = len(np.unique(_keys(sample)))
    if different < num_codes:
        raise TrainingError(
            f"expected at least {num_codes} different vectors for {num_codes} codes, received "
            f"{different} among {total}; the data repeats itself (silence? one picture?): "
            "give other data or ask for fewer codes"
        )


def kmeans_plus_plus(
    sample: Tensor, num_codes: int, *, seed: int, drawn: Tensor | None = None
) -> Tensor:
    """Return `num_codes` rows of `sample` `[n, dim]`, drawn by k-means++.

    Args:
        sample: rows to draw from.
        num_codes: how many.
        seed: of the draws.
        drawn: centroids `[K0, dim]` that count as drawn already; they are not returned.

    Raises:
        TrainingError: fewer different rows than codes.

    >>> rows = torch.tensor([[0.0], [0.0], [9.0]])
    >>> sorted(kmeans_plus_plus(rows, 2, seed=0).flatten().tolist())
    [0.0, 9.0]
    """
    rng = np.random.default_rng(seed)
    mean = sample.mean(0)
    centred = sample - mean
    energies = centred.square().sum(1)
    if drawn is None:
        chosen = [int(rng.integers(len(sample)))]
        distances = _squared_distances(centred, energies, centred[chosen])
    else:
        chosen = []
        distances = _squared_distances(centred, energies, drawn - mean)
    while len(chosen) < num_codes:
        weights = distances.double().cpu().numpy()
        count = min(max(1, num_codes // _ROUNDS), num_codes - len(chosen), (weights > 0).sum())
        if not count:
            raise TrainingError(
                f"expected at least {num_codes} different vectors, received {len(chosen)}"
            )
        more = rng.choice(len(sample), size=count, replace=False, p=weights / weights.sum())
        chosen += more.tolist()
        others = centred[torch.as_tensor(more, device=sample.device)]
        distances = torch.minimum(distances, _squared_distances(centred, energies, others))
        distances[more] = 0
    return sample[chosen].clone()


def random_rows(sample: Tensor, num_codes: int, *, seed: int) -> Tensor:
    """Return `num_codes` different rows of `sample`, drawn uniformly."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(sample)))
    shuffled = sample[order]
    _, place = np.unique(_keys(shuffled), return_index=True)
    return shuffled[torch.from_numpy(np.sort(place)[:num_codes])].clone()


class Reseeded(NamedTuple):
    """Centroids without empty clusters, and how many were empty."""

    centroids: Tensor
    num_empty: int


def split_for_empty(centroids: Tensor, counts: Tensor, inertias: Tensor, *, seed: int) -> Reseeded:
    """Give each empty cluster half of a cluster with a large inertia.

    Args:
        centroids: `[K, dim]`, changed in place.
        counts, inertias: `[K]`, rows and summed squared distances of each cluster.
        seed: of the directions.
    """
    empty = torch.nonzero(counts == 0).flatten()
    large = torch.argsort(inertias, descending=True, stable=True)[: len(empty)]
    large = large[inertias[large] > 0]
    empty = empty[: len(large)]
    if len(empty):
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((len(empty), centroids.shape[1]), dtype=np.float32)
        direction = torch.from_numpy(noise).to(centroids.device)
        spread = (inertias[large] / (counts[large] * centroids.shape[1])).sqrt().float()
        push = _PUSH * spread[:, None] * direction
        centroids[empty] = centroids[large] + push
        centroids[large] -= push
    return Reseeded(centroids, len(empty))


def _squared_distances(rows: Tensor, energies: Tensor, others: Tensor) -> Tensor:
    """Return the distance of each row from the nearest of others."""
    scores = torch.addmm(others.square().sum(1), rows, others.t(), alpha=-2.0)
    return (scores.amin(1) + energies).clamp_(min=0)


def _keys(rows: Tensor) -> np.ndarray:
    """Return a number for each row, the same for equal rows: exact arithmetic on their bits."""
    bits = (rows.cpu().float() + 0.0).contiguous().numpy().view(np.uint32)
    factors = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64) | 1
    parts = [
        (bits[i : i + 4096].astype(np.uint64) * factors).sum(1) for i in range(0, len(bits), 4096)
    ]
    return np.concatenate(parts)
