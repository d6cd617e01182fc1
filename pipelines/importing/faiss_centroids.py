"""Centroids out of a faiss index: what it compares with, back in the space of the features.

    features ─ transforms (OPQ, PCA) ─► smaller ones ─ index ─► the nearest of its vectors

Of an index of inverted lists without vectors the centroids are those of the lists (mHuBERT-147). A
transform is undone where it turns and drops axes and no more, for that leaves the nearest the same
one; so does an inner product where all vectors are equally long. Anything else would find other
units than the index does, and is refused.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import MissingExtraError, WeightsFormatError

FAISS_MAGICS = (
    *(b"IxF2", b"IxFI", b"IxFl", b"IwFl", b"IHNf", b"IxPT", b"IvFl", b"IwPQ", b"IwPf", b"IwSQ"),
    *(b"IwSq", b"IxPq", b"IxPo", b"IxSQ", b"IHNp", b"IHNs", b"IHN2", b"IxMp", b"IxM2"),
)
"""With these an index begins, the kinds that people train centroids with."""

_SAME = 1e-4  # two numbers that differ by rounding in float32


def read_faiss(path: Path) -> np.ndarray:
    """Return the vectors `float32 [num_codes, dim]` of an index.

    Raises:
        MissingExtraError: faiss is not there.
        WeightsFormatError: no index, one without vectors, or one that finds by another rule.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: a faiss index needs faiss; pip install 'dvse[faiss]'"
        ) from error
    try:
        whole = faiss.read_index(str(path))  # parts live as long as it does
        index = faiss.downcast_index(whole)
        chain = []
        while isinstance(index, faiss.IndexPreTransform):
            steps: Any = index.chain
            chain += [faiss.downcast_VectorTransform(steps.at(i)) for i in range(steps.size())]
            index = faiss.downcast_index(index.index)
        if isinstance(index, faiss.IndexIVF) and not index.ntotal:
            index = faiss.downcast_index(index.quantizer)
        by_product = index.metric_type == faiss.METRIC_INNER_PRODUCT
        known = by_product or index.metric_type == faiss.METRIC_L2
        vectors = np.array(index.reconstruct_n(0, index.ntotal))
        for transform in reversed(chain):
            known = known and _only_turns(faiss, transform)
            vectors = transform.reverse_transform(vectors)
        del whole
    except Exception as error:  # faiss raises its own RuntimeError subclasses
        raise WeightsFormatError(
            f"{path}: expected a faiss index that holds its vectors; "
            f"{' '.join(str(error).split())[-120:]}"
        ) from error
    if not len(vectors):
        raise WeightsFormatError(f"{path}: expected a faiss index of centroids, received none")
    lengths = np.linalg.norm(vectors, axis=1)
    if by_product and np.ptp(lengths) > _SAME * lengths.max():
        known = False
    if not known:
        raise WeightsFormatError(
            f"{path}: expected a faiss index that finds the vector at the least distance, received "
            "one that finds another (by inner product, or in a space of other distances); export "
            "its vectors as .npy if distance is what was meant"
        )
    return vectors


def _only_turns(faiss: Any, transform: Any) -> bool:
    """Whether distances in the space behind are those before, without the axes that it drops.

    Computed, for what an index that was read says of itself holds for whitening, too.
    """
    if not isinstance(transform, faiss.LinearTransform):
        return False
    matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    return bool(np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() < _SAME)
