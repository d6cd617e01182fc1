import numpy as np
import torch

from pipelines.codebooks.kmeans.initialization import split_for_empty
from pipelines.codebooks.kmeans.partial_sums import PartialSums


def test_one_pass_against_the_definition():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.standard_normal((50, 5)).astype(np.float32))
    centroids = rows[:7].clone()
    sums = PartialSums(centroids)
    codes = sums.add(rows)
    distances = torch.cdist(rows.double(), centroids.double()) ** 2
    assert (codes == distances.argmin(1)).all()
    assert np.isclose(sums.inertia(), float(distances.amin(1).sum()), rtol=1e-6)
    for code in range(7):
        mine = rows[codes == code].double()
        assert np.allclose(sums.means()[code], mine.mean(0), atol=1e-6)
        around = ((mine - mine.mean(0)) ** 2).sum()
        assert np.isclose(sums.inertias()[code], around, atol=1e-5)


def test_a_large_common_offset_does_not_change_codes():
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.standard_normal((400, 16)).astype(np.float32))
    centroids = rows[:20].clone()
    plain, moved = PartialSums(centroids), PartialSums(centroids + 300)
    assert (plain.nearest(rows) == moved.nearest(rows + 300)).float().mean() > 0.99


def test_bfloat16_products_keep_almost_all_codes():
    rng = np.random.default_rng(2)
    rows = torch.from_numpy(rng.standard_normal((2000, 64)).astype(np.float32))
    rows[:, 0] += torch.arange(2000) % 10 * 6
    centroids = torch.zeros(10, 64)
    centroids[:, 0] = torch.arange(10) * 6
    exact, fast = PartialSums(centroids), PartialSums(centroids, product="bfloat16")
    assert (exact.nearest(rows) == fast.nearest(rows)).float().mean() > 0.98


def test_partial_sums_add_up():
    rng = np.random.default_rng(3)
    rows = torch.from_numpy(rng.standard_normal((90, 4)).astype(np.float32))
    whole, left, right = (PartialSums(rows[:6].clone()) for _ in range(3))
    whole.add(rows)
    left.add(rows[:40])
    right.add(rows[40:])
    left.set_state(left.state() + right.state())
    assert torch.allclose(left.means(), whole.means(), atol=1e-6)
    assert left.counts.tolist() == whole.counts.tolist()


def test_an_empty_cluster_takes_half_of_the_widest():
    centroids = torch.tensor([[0.0, 0.0], [5.0, 5.0], [9.0, 9.0]])
    counts = torch.tensor([10.0, 0.0, 2.0], dtype=torch.float64)
    inertias = torch.tensor([0.0, 0.0, 8.0], dtype=torch.float64)
    result = split_for_empty(centroids, counts, inertias, seed=0)
    assert result.num_empty == 1
    assert result.centroids[0].tolist() == [0.0, 0.0]
    assert torch.allclose((result.centroids[1] + result.centroids[2]) / 2, torch.tensor([9.0, 9.0]))
    assert not torch.equal(result.centroids[1], result.centroids[2])


def test_clusters_of_equal_rows_are_never_split():
    centroids = torch.zeros(2, 2)
    counts = torch.tensor([10.0, 0.0], dtype=torch.float64)
    assert split_for_empty(centroids, counts, torch.zeros(2), seed=0).num_empty == 0
