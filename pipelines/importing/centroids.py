"""Published centroids of any kind that people hand around, as one array.

| file | written by |
|---|---|
| joblib dump (`km.bin`, `.pt`, `.mdl`, …) | fairseq, textlesslib, SpeechBrain, ESPnet |
| `.npy` | seamless_communication, NumPy |
| `.safetensors` | DVSE's own codebooks, anybody |
| a torch file with one matrix | `torch.save` of a tensor or a dictionary; tensors only |
| a faiss index | mHuBERT-147, TextlessNLP |

Which it is, is told by the content; the name says nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import BundleNotFoundError, MissingExtraError, WeightsFormatError
from dvse.storage.file_hash import file_sha256
from pipelines.importing.joblib_dump import read_joblib_kmeans

_TORCH_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickled number, with which torch files began before they were zip archives."""


@dataclass(frozen=True, kw_only=True)
class Centroids:
    """Centroids with where they are from.

    Attributes:
        vectors: `float32 [num_codes, dim]`, finite.
        provenance: file name, sha256, kind, and what the file says of itself.
    """

    vectors: np.ndarray
    provenance: dict[str, Any]


def read_centroids(path: Path) -> Centroids:
    """Read a file of centroids; nothing in it is run.

    Raises:
        BundleNotFoundError: no such file.
        UnsafeFileError: a dump that would run something.
        WeightsFormatError: no centroids `[num_codes, dim]` in it, damaged, or not finite.
        MissingExtraError: a faiss index without faiss.
    """
    if not path.is_file():
        raise BundleNotFoundError(f"{path}: expected a file of centroids, there is none")
    kind, vectors, about = _read(path)
    if vectors.ndim == 3 and len(vectors) == 1:
        vectors = vectors[0]
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind != "f":
        raise WeightsFormatError(
            f"{path}: expected centroids, floating point [num_codes, dim], received "
            f"{vectors.dtype} {list(vectors.shape)}"
        )
    with np.errstate(over="ignore"):
        single = np.array(vectors, dtype=np.float32, order="C")
    if not np.isfinite(single).all():
        raise WeightsFormatError(f"{path}: expected finite centroids, received NaN or infinity")
    return Centroids(
        vectors=single,
        provenance={
            "file": path.name,
            "sha256": file_sha256(path),
            "kind": kind,
            "dtype": str(vectors.dtype),
            **about,
        },
    )


def _read(path: Path) -> tuple[str, np.ndarray, dict[str, Any]]:
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"\x93NUMPY"):
        return "npy", _read_npy(path), {}
    if start[8:9] == b"{":
        return "safetensors", *_read_safetensors(path)
    if start[:4] in (b"IxF2", b"IxFI", b"IxFl", b"IwFl", b"IHNf", b"IxPT", b"IvFl", b"IwPQ"):
        return "faiss index", _read_faiss(path), {}
    if start.startswith((b"PK\x03\x04", _TORCH_BEFORE_1_6)):
        return "torch file", *_read_torch(path)
    dumped = read_joblib_kmeans(path)
    return (
        "joblib dump of k-means",
        dumped.centroids,
        {"class": dumped.class_name, "sklearn_version": dumped.sklearn_version},
    )


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # NumPy parses its header as Python does, with every error of that
        raise WeightsFormatError(
            f"{path}: expected an array of numbers; {' '.join(str(error).split())[:200]}"
        ) from error


def _read_safetensors(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            matrices = {name: file.get_tensor(name) for name in names}
            metadata = dict(file.metadata() or {})
    except (SafetensorError, TypeError) as error:
        raise WeightsFormatError(f"{path}: expected a safetensors file; {error}") from error
    name, matrix = _only_matrix(path, matrices)
    about = {"tensor": name}
    return matrix, about | ({"metric": metadata["metric"]} if "metric" in metadata else {})


def _read_torch(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch refuses other objects, and damage, in many ways
        raise WeightsFormatError(
            f"{path}: expected a torch file of tensors alone, which is opened without running it; "
            f"{' '.join(str(error).split())[:120]}"
        ) from error
    tensors = content if isinstance(content, dict) else {"": content}
    found = {
        str(name): value.float().numpy()
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor)
    }
    name, matrix = _only_matrix(path, found)
    return matrix, {"tensor": name}


def _only_matrix(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    matrices = {
        name: array
        for name, array in arrays.items()
        if array.ndim == 2 or (array.ndim == 3 and len(array) == 1)
    }
    for name in ("centroids", "cluster_centers_", "cluster_centers", "codebook"):
        if name in matrices:
            return name, matrices[name]
    if len(matrices) != 1:
        raise WeightsFormatError(
            f"{path}: expected one matrix of centroids (or one called 'centroids'), received "
            f"{sorted(matrices)[:8] or 'none'}"
        )
    return next(iter(matrices.items()))


def _read_faiss(path: Path) -> np.ndarray:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: a faiss index needs faiss; pip install 'dvse[faiss]'"
        ) from error
    try:
        index = faiss.read_index(str(path))
        # An inverted file keeps its centroids in the index that finds the list.
        holder = index.quantizer if hasattr(index, "quantizer") and index.ntotal == 0 else index
        holder = faiss.downcast_index(holder)
        return holder.reconstruct_n(0, holder.ntotal)
    except Exception as error:  # faiss raises its own RuntimeError subclasses
        raise WeightsFormatError(
            f"{path}: expected a faiss index that holds its vectors; "
            f"{' '.join(str(error).split())[-120:]}"
        ) from error
