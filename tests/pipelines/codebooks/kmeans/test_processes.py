"""Two processes that hold half of the rows each end with the centroids of one that holds all."""

import numpy as np
import torch
import torch.multiprocessing as mp

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans.features import ArrayFeatures
from pipelines.codebooks.kmeans.lloyd import TorchLloyd
from pipelines.codebooks.settings import KMeansSettings

SETTINGS = KMeansSettings(num_codes=30, num_passes=5, tolerance=0.0)


def rows_to_cluster(num_nan: int = 0) -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = (rng.standard_normal((12, 6))[rng.integers(0, 12, 3000)] * 4).astype(np.float32)
    rows += 0.4 * rng.standard_normal(rows.shape).astype(np.float32)
    rows[2999, :num_nan] = np.nan
    return rows


def fit_share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    share = slice(0, 1300) if rank == 0 else slice(1300, None)
    fit = TorchLloyd().fit(ArrayFeatures(rows_to_cluster()[share]), SETTINGS)
    np.save(f"{folder}/centroids-{rank}.npy", fit.centroids.numpy())
    try:
        TorchLloyd().fit(ArrayFeatures(rows_to_cluster(num_nan=1)[share]), SETTINGS)
    except TrainingError as error:
        np.save(f"{folder}/refused-{rank}.npy", np.array(str(error)))
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    mp.spawn(fit_share, args=(str(tmp_path),), nprocs=2)
    alone = TorchLloyd().fit(ArrayFeatures(rows_to_cluster()), SETTINGS).centroids.numpy()
    first, second = (np.load(tmp_path / f"centroids-{rank}.npy") for rank in (0, 1))
    assert (first == second).all()
    assert np.abs(first - alone).max() < 1e-5
    # A NaN in the rows of one process stops both, with the same words.
    messages = {str(np.load(tmp_path / f"refused-{rank}.npy")) for rank in (0, 1)}
    assert len(messages) == 1
    assert "received NaN" in messages.pop()
