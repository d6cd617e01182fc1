"""Nearest-code search, fp32, 100,000 x 768, against scikit-learn and faiss in the same process.

`ratio` is peer time over our time. The argmins are compared too: ties of rounding aside they are
the same (scikit-learn and faiss sum in another order).
"""

from collections.abc import Iterator

import numpy as np
import torch
from timing import Row, alternate

from dvse.nearest import nearest_codes

_NUM_VECTORS, _DIM, _NUM_THREADS = 100_000, 768, 2


def rows() -> Iterator[Row]:
    """Yield 500 and 8,192 codes against each peer; about five minutes on two cores."""
    for case in CASES.values():
        yield from case()


def _codes(num_codes: int, chosen: tuple[str, ...]) -> Iterator[Row]:
    import faiss
    from sklearn.cluster import KMeans

    threads = torch.get_num_threads()
    torch.set_num_threads(_NUM_THREADS)
    faiss.omp_set_num_threads(_NUM_THREADS)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((_NUM_VECTORS, _DIM), dtype=np.float32)
    tensor = torch.from_numpy(vectors)
    try:
        centroids = rng.standard_normal((num_codes, _DIM), dtype=np.float32)
        codes = torch.from_numpy(centroids)
        # Fitting the centroids to themselves leaves them where they are.
        means = KMeans(num_codes, init=centroids, n_init=1, max_iter=1).fit(centroids)
        index = faiss.IndexFlatL2(_DIM)
        index.add(centroids)
        ours = nearest_codes(tensor, codes).numpy()
        peers = {
            "sklearn": lambda: means.predict(vectors),
            "faiss": lambda: index.search(vectors, 1)[1][:, 0],
        }
        for name in chosen:
            peer = peers[name]
            same = float((peer() == ours).mean())
            pairs = alternate(lambda: nearest_codes(tensor, codes), peer)
            yield pairs.row(
                f"nearest.{num_codes}_codes_{name}",
                bar=">= 0.9",
                note=f"{_NUM_VECTORS} x {_DIM}; same argmin {same:.6f}; {_NUM_THREADS} threads",
            )
    finally:
        torch.set_num_threads(threads)


CASES = {
    "500": lambda: _codes(500, ("sklearn", "faiss")),
    "8192_sklearn": lambda: _codes(8192, ("sklearn",)),
    "8192_faiss": lambda: _codes(8192, ("faiss",)),
}
