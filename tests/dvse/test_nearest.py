"""Nearest-code search against scikit-learn and distances written out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances_argmin

from dvse.errors import ConfigError
from dvse.nearest import _BLOCK_ROWS, nearest_codes


def grid_points(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Whole numbers: every product and sum is exact in fp32, so ties are real ties."""
    return torch.from_numpy(rng.integers(-4, 5, shape).astype(np.float32))


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_equals_written_out_distances_with_ties_to_the_lower_code(n, k, dim, seed):
    rng = np.random.default_rng(seed)
    vectors, centroids = grid_points(rng, n, dim), grid_points(rng, k, dim)
    distances = ((vectors[:, None] - centroids[None]) ** 2).sum(-1).numpy()
    assert nearest_codes(vectors, centroids).tolist() == distances.argmin(-1).tolist()


def test_equals_scikit_learn_on_real_numbers():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5000, 24)).astype(np.float32)
    centroids = rng.normal(size=(300, 24)).astype(np.float32)
    found = nearest_codes(torch.from_numpy(vectors), torch.from_numpy(centroids))
    assert found.dtype == torch.int64
    assert (found.numpy() == pairwise_distances_argmin(vectors, centroids)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 100, _BLOCK_ROWS, _BLOCK_ROWS + 1])
def test_a_code_does_not_depend_on_how_many_vectors_came_along(n):
    """Near ties: pairs of centroids one rounding apart, so another order of sums would show."""
    generator = torch.Generator().manual_seed(1)
    half = torch.randn(64, 48, generator=generator)
    centroids = torch.cat([half, half * (1 + 2e-7)])
    vectors = half.repeat(100, 1)[: _BLOCK_ROWS + 1]
    vectors = vectors + 1e-3 * torch.randn(vectors.shape, generator=generator)
    whole = nearest_codes(vectors, centroids)
    assert torch.equal(nearest_codes(vectors[:n], centroids), whole[:n])


def test_half_precision_is_compared_in_fp32():
    centroids = torch.tensor([[1.0, 1.0], [1.001, 1.001]])
    vector = torch.tensor([[1.0009, 1.0009]])
    assert nearest_codes(vector, centroids).tolist() == [1]
    assert nearest_codes(vector.half(), centroids).tolist() == [1]


def test_no_vectors():
    assert nearest_codes(torch.zeros(0, 3), torch.zeros(2, 3)).shape == (0,)


@pytest.mark.parametrize(("left", "right"), [((2, 3), (4, 2)), ((3,), (4, 3)), ((2, 3), (3,))])
def test_shapes_are_checked(left, right):
    with pytest.raises(ConfigError, match="expected vectors"):
        nearest_codes(torch.zeros(left), torch.zeros(right))


def test_a_view_is_searched_like_its_copy():
    generator = torch.Generator().manual_seed(2)
    wide = torch.randn(50, 40, generator=generator)
    centroids = torch.randn(30, 20, generator=generator)
    view = wide[:, ::2]
    assert torch.equal(nearest_codes(view, centroids), nearest_codes(view.clone(), centroids))
