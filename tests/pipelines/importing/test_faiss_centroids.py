"""Centroids of faiss indexes: the nearest of them is what the index finds."""

import numpy as np
import pytest

from dvse.errors import WeightsFormatError
from pipelines.importing.centroids import read_centroids

faiss = pytest.importorskip("faiss")
RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((600, 16)).astype(np.float32) * np.linspace(0.5, 2, 16, dtype=np.float32)
NEW = RNG.standard_normal((200, 16)).astype(np.float32)


def nearest(vectors):
    return ((NEW[:, None] - vectors.astype(np.float64)) ** 2).sum(-1).argmin(1)


def read(index, tmp_path):
    faiss.write_index(index, str(tmp_path / "c.index"))
    return read_centroids(tmp_path / "c.index").vectors


@pytest.mark.parametrize("kind", ["Flat", "HNSW8,Flat", "PCA8,Flat", "OPQ4_8,Flat"])
def test_an_index_of_vectors(tmp_path, kind):
    index = faiss.index_factory(16, kind)
    index.train(DATA)
    index.add(DATA[:20])
    assert (nearest(read(index, tmp_path)) == index.search(NEW, 1)[1][:, 0]).all()


@pytest.mark.parametrize("kind", ["IVF8,Flat", "OPQ4_16,IVF8,Flat", "OPQ4_8,IVF8,PQ4x4"])
def test_the_lists_of_an_inverted_file(tmp_path, kind):
    index = faiss.index_factory(16, kind)
    index.train(DATA)
    found = read(index, tmp_path)
    assert found.shape == (8, 16)
    is_transformed = isinstance(index, faiss.IndexPreTransform)
    step = faiss.downcast_VectorTransform(index.chain.at(0)) if is_transformed else None
    features = NEW if step is None else step.apply(NEW)
    lists = faiss.extract_index_ivf(index).quantizer
    assert (nearest(found) == lists.search(features, 1)[1][:, 0]).all()


def test_an_inner_product_of_vectors_of_one_length_is_a_distance(tmp_path):
    unit = DATA[:20] / np.linalg.norm(DATA[:20], axis=1, keepdims=True)
    index = faiss.IndexFlatIP(16)
    index.add(unit)
    assert (nearest(read(index, tmp_path)) == index.search(NEW, 1)[1][:, 0]).all()


def test_an_index_that_finds_by_another_rule_is_refused(tmp_path):
    index = faiss.IndexFlatIP(16)
    index.add(DATA[:20])
    with pytest.raises(WeightsFormatError, match="at the least distance, received one that finds"):
        read(index, tmp_path)
    index = faiss.index_factory(16, "PCAW8,Flat")  # whitening stretches axes
    index.train(DATA)
    index.add(DATA[:20])
    with pytest.raises(WeightsFormatError, match="in a space of other distances"):
        read(index, tmp_path)
    index = faiss.IndexFlat(16, faiss.METRIC_L1)
    index.add(DATA[:20])
    with pytest.raises(WeightsFormatError, match="in a space of other distances"):
        read(index, tmp_path)
    with pytest.raises(WeightsFormatError, match="received none"):
        read(faiss.IndexFlatL2(16), tmp_path)
