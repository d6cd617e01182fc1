import numpy as np
import pytest
import torch

from pipelines.codebooks.near_duplicates import num_duplicates, separate


def clouds(rng, places, count=200, spread=0.3):
    noise = spread * rng.standard_normal((len(places), count, 2))
    return (np.array(places)[:, None] + noise).reshape(-1, 2).astype(np.float32)


def test_duplicates_lie_much_nearer_than_the_median():
    centroids = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.1, 0.0]])
    assert num_duplicates(centroids) == 2
    assert num_duplicates(centroids, fraction=0.01) == 0
    assert num_duplicates(centroids[:1]) == 0


def test_of_two_that_are_alike_one_goes_where_codes_are_missing():
    places = [(0, 0), (10, 0), (0, 10), (10, 10)]
    vectors = clouds(np.random.default_rng(0), places)
    # Two codes for the first cloud, one for the last two together.
    centroids = torch.tensor([[0.0, 0.01], [0.0, -0.01], [10.0, 0.0], [5.0, 10.0]])
    assert num_duplicates(centroids) == 2
    found = separate(vectors, centroids)
    assert num_duplicates(found) == 0
    nearest = torch.cdist(torch.tensor(places).float(), found).min(1)
    assert nearest.values.max() < 0.2 and len(nearest.indices.unique()) == 4
    assert torch.cdist(found[2:3], torch.tensor([[10.0, 0.0]])) < 0.2  # its number is what it was


def test_three_alike_are_told_apart():
    places = [(0, 0), (10, 0), (0, 10), (10, 10), (20, 0)]
    vectors = clouds(np.random.default_rng(1), places)
    alike = [[10.0, 0.0], [10.0, 0.01], [10.01, 0.0]]
    found = separate(vectors, torch.tensor([*alike, [0.0, 5.0], [15.0, 5.0]]))
    assert torch.cdist(torch.tensor(places).float(), found).min(1).values.max() < 0.2


def test_a_codebook_without_duplicates_stays_bit_for_bit():
    vectors = clouds(np.random.default_rng(0), [(0, 0), (10, 0), (0, 10)])
    centroids = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    assert torch.equal(separate(vectors, centroids), centroids)


@pytest.mark.parametrize("most_rounds", [0, 3])
def test_a_crowd_that_cannot_be_told_apart_ends(most_rounds):
    vectors = np.concatenate([np.zeros((50, 1)), np.full((50, 1), 1e-4)]).astype(np.float32)
    centroids = torch.tensor([[0.0], [1e-4], [0.5e-4], [9.0]])
    found = separate(vectors, centroids, most_rounds=most_rounds)
    assert found.shape == (4, 1) and torch.isfinite(found).all()


def test_as_many_codes_as_vectors_have_nowhere_to_go():
    centroids = torch.tensor([[0.0], [1e-3], [5.0], [9.0]])
    assert num_duplicates(centroids) == 2
    assert torch.equal(separate(centroids.numpy(), centroids), centroids)
