import numpy as np
import pytest
import torch

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans.feature_store import MANIFEST, FeatureStore, FeatureStoreWriter
from pipelines.codebooks.kmeans.features import ArrayFeatures, ResidualFeatures, RowSubset
from pipelines.codebooks.kmeans.reservoir import Reservoir
from pipelines.codebooks.kmeans.sampling import stratified_rows


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((25, 3)).astype(np.float32)


def written(folder, rows, **options) -> FeatureStore:
    with FeatureStoreWriter(folder, dim=rows.shape[1], **options) as writer:
        for block in np.array_split(rows, 4):
            writer.add(block)
    return FeatureStore.open(folder)


@pytest.mark.parametrize("shard_rows", [7, 25, 100])
def test_store_gives_back_what_was_written(tmp_path, rows, shard_rows):
    store = written(tmp_path / "f", rows, shard_rows=shard_rows, about={"layer": 6})
    assert (store.num_rows, store.dim, store.about) == (25, 3, {"layer": 6})
    assert (store.read(0, 25).numpy() == rows).all()
    assert (store.read(5, 16).numpy() == rows[5:16]).all()
    chosen = np.array([0, 6, 7, 13, 24])
    assert (store.take(chosen).numpy() == rows[chosen]).all()
    assert store.fingerprint() == ArrayFeatures(rows).fingerprint()
    files = sorted((tmp_path / "f").glob("*.npy"))
    assert (np.concatenate([np.load(path) for path in files]) == rows).all()


def test_half_precision_store_reads_as_fp32(tmp_path, rows):
    store = written(tmp_path / "f", rows, dtype="float16")
    assert store.read(0, 25).dtype == torch.float32
    assert np.abs(store.read(0, 25).numpy() - rows).max() < 2e-3


def test_a_store_is_there_whole_or_not_at_all(tmp_path, rows):
    folder = tmp_path / "f"
    with pytest.raises(KeyboardInterrupt), FeatureStoreWriter(folder, dim=3) as writer:
        writer.add(rows)
        raise KeyboardInterrupt
    assert not folder.exists()

    writer = FeatureStoreWriter(folder, dim=3, shard_rows=10)
    writer.add(rows)
    writer._shard.close()  # killed here: no manifest
    with pytest.raises(TrainingError, match="expected finished features"):
        FeatureStore.open(folder)
    assert written(folder, rows).num_rows == 25
    with pytest.raises(TrainingError, match="holds finished features already"):
        FeatureStoreWriter(folder, dim=3)


def test_damaged_stores_are_refused(tmp_path, rows):
    folder = tmp_path / "f"
    written(folder, rows, shard_rows=10)
    (folder / "features-00001.npy").unlink()
    with pytest.raises(TrainingError, match=r"features-00001.npy is missing"):
        FeatureStore.open(folder)
    np.save(folder / "features-00001.npy", rows[:4])
    with pytest.raises(TrainingError, match="has shape"):
        FeatureStore.open(folder)
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(TrainingError, match="cannot be used"):
        FeatureStore.open(folder)


def test_writer_refuses_what_it_cannot_keep(tmp_path, rows):
    writer = FeatureStoreWriter(tmp_path / "f", dim=3, dtype="float16")
    with pytest.raises(TrainingError, match="expected features \\[n, 3\\]"):
        writer.add(rows[:, :2])
    with pytest.raises(TrainingError, match="received NaN, infinity or larger"):
        writer.add(rows * 1e6)
    with pytest.raises(TrainingError, match="received none"):
        writer.finish()
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "thesis.doc").touch()
    with pytest.raises(TrainingError, match=r"it holds thesis.doc"):
        FeatureStoreWriter(tmp_path / "g", dim=3)


def test_a_full_disk_is_one_clear_error(tmp_path, rows, monkeypatch):
    class FullDisk:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(FeatureStoreWriter, "_open_shard", lambda self: FullDisk())
    folder = tmp_path / "f"
    with (
        pytest.raises(TrainingError, match=r"No space left on device\. Free some space"),
        FeatureStoreWriter(folder, dim=3) as writer,
    ):
        writer.add(rows)
    assert not folder.exists()


@pytest.mark.parametrize(
    "vectors", [np.zeros(3, np.float32), np.zeros((0, 3), np.float32), np.zeros((2, 2), int)]
)
def test_arrays_that_are_no_features(vectors):
    with pytest.raises(TrainingError, match="expected features of floats"):
        ArrayFeatures(vectors)


def test_residual_is_feature_minus_centroids_of_its_codes(rows):
    levels = [torch.ones(2, 3), torch.tensor([[0.0] * 3, [0.5] * 3])]
    codes = torch.zeros(25, 2, dtype=torch.int32)
    codes[3, 1] = 1
    rest = ResidualFeatures(ArrayFeatures(rows), levels, codes)
    assert np.allclose(rest.read(2, 5).numpy(), rows[2:5] - [[1], [1.5], [1]])
    assert np.allclose(rest.take(np.array([3])).numpy(), rows[3] - 1.5)
    assert (RowSubset(rest, np.array([3, 9])).read(0, 1) == rest.take(np.array([3]))).all()


def test_stratified_rows_take_one_of_each_group_in_no_fixed_place():
    chosen = stratified_rows(0, 800, group=8, seed=0)
    assert (chosen // 8 == np.arange(100)).all()
    places = np.bincount(chosen % 8, minlength=8)
    assert places.min() >= 4
    assert (stratified_rows(0, 800, group=8, seed=1) != chosen).mean() > 0.7
    turns = [stratified_rows(0, 803, group=8, seed=0, turn=turn) for turn in range(8)]
    assert sorted(np.concatenate(turns)) == list(range(803))


def test_reservoir_is_uniform_and_bounded():
    hits = np.zeros(40)
    for seed in range(200):
        sample = Reservoir(capacity=10, seed=seed)
        for block in np.array_split(np.arange(40, dtype=np.float32)[:, None], 7):
            sample.add(block)
        hits[sample.vectors[:, 0].astype(int)] += 1
        assert len(np.unique(sample.vectors)) == 10
    # Each of 40 rows stays with chance 1/4: 50 of 200 times, standard deviation 6.1.
    assert abs(hits - 50).max() < 28
    with pytest.raises(TrainingError, match="received none"):
        _ = Reservoir(capacity=3, seed=0).vectors
    with pytest.raises(TrainingError, match="NaN"):
        Reservoir(capacity=3, seed=0).add(np.full((1, 2), np.nan))
