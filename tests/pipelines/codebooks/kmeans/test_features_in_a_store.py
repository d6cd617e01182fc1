"""Features that lie in a store: the same centroids, whether one process reads them or two."""

import fsspec
import numpy as np
import pytest

from dvse.errors import ConfigError, TrainingError
from dvse.remote.remote_path import RemotePath
from dvse.storage.local_cache import LocalCache
from pipelines.codebooks import clustering
from pipelines.codebooks.kmeans import FeatureStore, FeatureStoreWriter
from pipelines.codebooks.settings import Clustering, KMeansSettings

ABOUT = {"encoder": "e", "layer": 3}


@pytest.fixture
def stored(tmp_path):
    """Features in a folder, and a copy of it in a store."""
    vectors = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    with FeatureStoreWriter(tmp_path / "features", dim=4, shard_rows=120, about=ABOUT) as writer:
        writer.add(vectors)
    fsspec.filesystem("memory").store.clear()
    remote = RemotePath("memory://bucket/features")
    for path in (tmp_path / "features").iterdir():
        (remote / path.name).write_bytes(path.read_bytes())
    yield tmp_path / "features", remote
    fsspec.filesystem("memory").store.clear()


def test_a_store_is_opened_by_its_address(stored, tmp_path):
    local, remote = stored
    cache = LocalCache(folder=tmp_path / "cache", max_bytes=5_000)
    here, there = FeatureStore.open(local), FeatureStore.open(remote, cache=cache)
    assert there.fingerprint() == here.fingerprint()
    assert there.read(100, 260).equal(here.read(100, 260))
    kept = [path.stat().st_size for path in (tmp_path / "cache").glob("*.npy")]
    assert sum(kept) <= 5_000, "what was mapped stays readable, the disk holds no more"
    (remote / "features-00002.npy").unlink()
    with pytest.raises(TrainingError, match=r"features-00002\.npy is missing"):
        FeatureStore.open(remote, cache=cache)


def fitted(features, tmp_path, name, about=ABOUT):
    settings = Clustering(kmeans=KMeansSettings(num_codes=8, num_passes=5), features=features)
    return clustering.cluster(no_frames, tmp_path / name, settings, dim=4, about=about)


def no_frames():
    raise AssertionError("features that are there are not made again")


def test_a_codebook_is_clustered_from_them(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    local, remote = stored
    here, there = fitted(local, tmp_path, "a"), fitted(remote, tmp_path, "b")
    assert there.codebook.centroids.equal(here.codebook.centroids)
    with pytest.raises(TrainingError, match="kept with layer = 3, now it is 4"):
        fitted(remote, tmp_path, "c", ABOUT | {"layer": 4})


def test_processes_share_the_rows(stored, tmp_path, monkeypatch):
    local, _ = stored
    shares = []
    for rank in range(3):
        processes = type("Processes", (), {"rank": rank, "count": 3})()
        shares.append(clustering._share(FeatureStore.open(local), processes))
    rows = np.concatenate([share.read(0, share.num_rows).numpy() for share in shares])
    assert (rows == FeatureStore.open(local).read(0, 500).numpy()).all()


def test_making_and_having_them_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="choose one"):
        Clustering(kmeans=KMeansSettings(num_codes=8), features=tmp_path, keep_features=True)
