"""What every mode of k-means promises."""

import numpy as np
import pytest
import torch

from dvse.errors import ConfigError, TrainingError
from pipelines.codebooks.kmeans import (
    MODES,
    ArrayFeatures,
    FeatureStore,
    FeatureStoreWriter,
    KMeansSettings,
    check_memory,
    make_fitter,
    train_codebook,
)
from pipelines.codebooks.kmeans.centred import offset_of
from pipelines.codebooks.kmeans.fitter import KMeansFitter

NUM_BLOBS = 12


def blobs(num_rows: int = 1800, dim: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((NUM_BLOBS, dim)) * 6
    which = rng.integers(0, NUM_BLOBS, num_rows)
    return (centres[which] + 0.3 * rng.standard_normal((num_rows, dim))).astype(np.float32)


def inertia(rows: np.ndarray, centroids: torch.Tensor) -> float:
    return float((torch.cdist(torch.from_numpy(rows), centroids).amin(1) ** 2).sum())


def fitter_of(mode: str) -> KMeansFitter:
    if mode == "faiss":
        pytest.importorskip("faiss")
    return make_fitter(mode)


@pytest.fixture(params=sorted(MODES))
def fitter(request, monkeypatch) -> KMeansFitter:
    monkeypatch.setattr("pipelines.codebooks.kmeans.mini_batch.BATCH_ROWS", 300)
    return fitter_of(request.param)


SETTINGS = KMeansSettings(num_codes=NUM_BLOBS, num_passes=12, tolerance=0.0)


def test_finds_the_blobs(fitter):
    rows = blobs()
    best = 0.3**2 * rows.size  # what the noise around the blobs' centres amounts to
    fit = train_codebook(ArrayFeatures(rows), SETTINGS, fitter=fitter)
    centroids = fit.codebook.centroids[0]
    assert centroids.shape == (NUM_BLOBS, 8)
    assert inertia(rows, centroids) < 1.05 * best
    assert fit.mean_squared_distance * len(rows) == pytest.approx(
        inertia(rows, centroids), rel=1e-3
    )


def test_where_zero_is_does_not_matter(fitter):
    """Far from zero products of fp32 keep no digit of a distance; an offset costs its rounding."""
    rows = blobs()
    for shift in (10_000.0, np.linspace(-30_000, 30_000, 8)):
        far = (rows.astype(np.float64) + shift).astype(np.float32)
        fit = train_codebook(ArrayFeatures(far), SETTINGS, fitter=fitter)
        centroids = fit.codebook.centroids[0].double().numpy()
        wide = far.astype(np.float64)
        exact = ((wide[:, None] - centroids) ** 2).sum(2).min(1).mean()  # fp64, by hand
        assert fit.mean_squared_distance == pytest.approx(exact, rel=1e-3)
        assert (
            exact
            < 1.01
            * train_codebook(ArrayFeatures(rows), SETTINGS, fitter=fitter).mean_squared_distance
        )


def test_features_around_zero_are_read_as_they_are():
    assert not offset_of(torch.from_numpy(blobs())).any()


def test_a_few_different_rows_among_many_equal_ones_are_found(fitter):
    rng = np.random.default_rng(1)
    rows = np.full((5020, 8), 0.5, np.float32)
    places = rng.permutation(5020)[:20]
    rows[places] += 3 * rng.standard_normal((20, 8)).astype(np.float32)
    settings = KMeansSettings(num_codes=16, num_passes=12)
    fit = train_codebook(ArrayFeatures(rows), settings, fitter=fitter)
    assert len(np.unique(fit.codebook.centroids[0].numpy(), axis=0)) == 16
    # sixteen of the twenty-one kinds of rows at least are met
    assert fit.mean_squared_distance < 20 * 9 * 8 * 0.5 / 5020
    with pytest.raises(TrainingError, match="received 21 among 5020"):
        train_codebook(ArrayFeatures(rows), KMeansSettings(num_codes=22), fitter=fitter)


def test_the_same_seed_gives_the_same_centroids(fitter):
    rows = ArrayFeatures(blobs())
    first, second = (fitter.fit(rows, SETTINGS).centroids for _ in range(2))
    assert torch.equal(first, second)


def test_features_from_disk_give_the_centroids_of_features_in_memory(fitter, tmp_path):
    rows = blobs()
    with FeatureStoreWriter(tmp_path / "f", dim=8, shard_rows=500) as writer:
        writer.add(rows)
    stored = fitter.fit(FeatureStore.open(tmp_path / "f"), SETTINGS).centroids
    assert torch.allclose(stored, fitter.fit(ArrayFeatures(rows), SETTINGS).centroids, atol=1e-5)


def test_a_killed_run_ends_with_the_centroids_of_one_that_was_not(fitter, tmp_path, monkeypatch):
    from pipelines.codebooks.kmeans import lloyd, pass_fitter

    rows = ArrayFeatures(blobs(seed=3))
    settings = KMeansSettings(num_codes=40, num_levels=2, num_passes=4, tolerance=0.0)
    expected = train_codebook(rows, settings, fitter=fitter).codebook.centroids
    num_saved = 0

    def save_and_die(path, identity, state):
        nonlocal num_saved
        num_saved += 1
        if num_saved % 3 == 0:
            raise KeyboardInterrupt  # after the pass, before its checkpoint
        save_checkpoint(path, identity, state)

    from pipelines.runs.checkpoint import save_checkpoint

    for module in (lloyd, pass_fitter):
        monkeypatch.setattr(module, "save_checkpoint", save_and_die)
    for _ in range(20):
        try:
            fit = train_codebook(rows, settings, fitter=fitter, checkpoints=tmp_path / "c")
        except KeyboardInterrupt:
            continue
        break
    assert num_saved > 6
    assert torch.equal(fit.codebook.centroids, expected)


def test_a_checkpoint_of_something_else_is_refused(fitter, tmp_path):
    rows, path = ArrayFeatures(blobs()), tmp_path / "c.ckpt"
    settings = KMeansSettings(num_codes=NUM_BLOBS, num_passes=1)
    fitter.fit(rows, settings, checkpoint=path)
    with pytest.raises(TrainingError, match="made with seed = 0, now it is 1"):
        fitter.fit(rows, KMeansSettings(num_codes=NUM_BLOBS, num_passes=1, seed=1), checkpoint=path)
    with pytest.raises(TrainingError, match="made with features"):
        fitter.fit(ArrayFeatures(blobs(seed=9)), settings, checkpoint=path)
    path.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="delete it to start over"):
        fitter.fit(rows, settings, checkpoint=path)


def test_bad_features(fitter, tmp_path):
    settings, path = KMeansSettings(num_codes=50), tmp_path / "c"
    cases = {
        "at least 50 vectors for 50 codes, received 20": blobs(20),
        "received 1 among 1800": np.ones((1800, 8), np.float32),
        "received 3 among": np.tile(blobs(3), (500, 1)),
        "received NaN": np.where(np.eye(200, 8) > 0, np.nan, blobs(200)).astype(np.float32),
    }
    for message, rows in cases.items():
        with pytest.raises(TrainingError, match=message):
            train_codebook(ArrayFeatures(rows), settings, fitter=fitter, checkpoints=path)
        assert not list(path.glob("*"))


def test_one_nan_outside_every_sample_is_found(fitter):
    rows = blobs(6000)
    rows[4321, 3] = np.nan
    with pytest.raises(TrainingError, match="received NaN"):
        fitter.fit(ArrayFeatures(rows), SETTINGS)


def test_more_codes_than_blobs_leave_no_code_unused(fitter):
    rows = np.concatenate([np.zeros((900, 8), np.float32), blobs(900)])  # half of it is silence
    settings = KMeansSettings(num_codes=60, num_passes=8, tolerance=0.0)
    fit = train_codebook(ArrayFeatures(rows), settings, fitter=fitter)
    codes = fit.codebook.encode(torch.from_numpy(rows))
    # scikit-learn gives unused centroids to random rows, and half of these are silence.
    assert len(codes.unique()) >= (45 if fitter.name == "minibatch" else 58)


def test_residual_levels_lower_the_distance(fitter):
    rows = blobs()
    distances = []
    for num_levels in (1, 2, 3):
        settings = KMeansSettings(num_codes=8, num_levels=num_levels, num_passes=6)
        fit = train_codebook(ArrayFeatures(rows), settings, fitter=fitter)
        book = fit.codebook
        decoded = book.decode(book.encode(torch.from_numpy(rows))).numpy()
        error = float(((rows - decoded) ** 2).sum() / len(rows))
        assert fit.mean_squared_distance == pytest.approx(error, rel=1e-3)
        distances.append(error)
    assert distances[0] > 1.5 * distances[1] > 2 * distances[2]


def test_memory_is_refused_with_the_mode_that_fits(tmp_path):
    pytest.importorskip("faiss")
    with FeatureStoreWriter(tmp_path / "f", dim=8) as writer:
        writer.add(np.zeros((20, 8), np.float32))
    store = FeatureStore.open(tmp_path / "f")
    store.num_rows, store.dim = 10**8, 768
    settings = KMeansSettings(num_codes=500)
    for mode in ("lloyd", "minibatch"):
        assert check_memory(make_fitter(mode), store, settings, limit_bytes=2 * 10**9) < 10**9
    with pytest.raises(TrainingError, match=r"'faiss' needs 307.* use mode 'lloyd', which needs"):
        check_memory(make_fitter("faiss"), store, settings, limit_bytes=2 * 10**9)
    with pytest.raises(TrainingError, match="no mode fits"):
        check_memory(make_fitter("faiss"), store, settings, limit_bytes=10**6)


def test_random_rows_to_begin_with():
    settings = KMeansSettings(num_codes=NUM_BLOBS, initialization="reservoir", num_passes=20)
    fit = train_codebook(ArrayFeatures(blobs()), settings)
    assert fit.mean_squared_distance < 0.25 * blobs().var(0).sum()


def test_settings_outside_their_range():
    for bad in (
        {"num_codes": 0},
        {"num_codes": 2, "tolerance": 1},
        {"num_codes": 2, "num_levels": 0},
    ):
        with pytest.raises(ConfigError, match="expected"):
            KMeansSettings(**bad)
    with pytest.raises(ConfigError, match="'reservoir'"):
        KMeansSettings(num_codes=2, initialization="random")
    with pytest.raises(ConfigError, match="received 'gpu'"):
        make_fitter("gpu")
