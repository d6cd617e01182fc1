"""Published centroids of any kind that people hand around, as one array.

| file | written by |
|---|---|
| joblib dump or pickle (`km.bin`, `.pt`, `.mdl`, …) | fairseq, textlesslib, SpeechBrain, ESPnet |
| `.npy`, `.npz` with one matrix | seamless_communication, NumPy |
| `.safetensors` | DVSE's own codebooks, anybody |
| a torch file with one matrix | `torch.save` of a tensor or a dictionary; tensors only |
| a faiss index | mHuBERT-147, TextlessNLP |

Which it is, is told by the content; the name says nothing.
"""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import BundleNotFoundError, UnsafeFileError, WeightsFormatError
from dvse.storage.file_hash import file_sha256
from pipelines.importing.checkpoint import is_plain, is_torch_file
from pipelines.importing.faiss_centroids import FAISS_MAGICS, read_faiss
from pipelines.importing.filling import LARGEST_CODE
from pipelines.importing.joblib_dump import read_joblib_kmeans


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
    if (largest := np.abs(single).max()) > LARGEST_CODE:
        raise WeightsFormatError(
            f"{path}: expected centroids of up to {LARGEST_CODE:g}, received {largest:.3g}, whose "
            "distances no float32 holds"
        )
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
    if start[:4] in FAISS_MAGICS:
        return "faiss index", read_faiss(path), {}
    if is_torch_file(path):
        if zipfile.is_zipfile(path) and _is_npz(path):
            return "npz", *_read_npz(path)
        return "torch file", *_read_torch(path)
    dumped = read_joblib_kmeans(path)
    return (
        "joblib dump of k-means",
        dumped.centroids,
        {"class": dumped.class_name, "sklearn_version": dumped.sklearn_version},
    )


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except Exception as error:  # NumPy parses its header as Python does, with every error of that
        raise WeightsFormatError(f"{path}: expected an array of numbers; {_said(error)}") from error


def _read_npz(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.atleast_1d(arrays[name]) for name in arrays.files}
    except Exception as error:  # of the archive and of each array in it
        raise WeightsFormatError(f"{path}: expected arrays of numbers; {_said(error)}") from error
    name, matrix = _only_matrix(path, found)
    return matrix, {"array": name}


def _read_safetensors(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, TypeError) as error:
        raise WeightsFormatError(f"{path}: expected a safetensors file; {error}") from error
    name, matrix = _only_matrix(path, _arrays(tensors))
    about = {"tensor": name}
    if "metric" not in metadata:
        return matrix, about
    if metadata["metric"] not in ("euclidean", "cosine"):
        raise WeightsFormatError(
            f"{path}: expected metric 'euclidean' or 'cosine', received {metadata['metric']!r}"
        )
    return matrix, about | {"metric": metadata["metric"]}


def _read_torch(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of sparse tensors, which are left out
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeFileError(
            f"{path}: expected a torch file of tensors alone, received one that names something "
            "else, which was not run; ask its author for a .npy or safetensors file"
        ) from error
    except Exception as error:  # torch refuses damage in many ways
        raise WeightsFormatError(
            f"{path}: expected a torch file of tensors, whole; {_said(error)}"
        ) from error
    tensors = content if isinstance(content, dict) else {"": content}
    name, matrix = _only_matrix(path, _arrays(tensors))
    return matrix, {"tensor": name}


def _arrays(tensors: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Those that are plain matrices of floating-point numbers, 16 bits as 32; no others."""
    import torch

    found = {}
    for name, value in tensors.items():
        if is_plain(value) and value.is_floating_point():
            value = value.detach()
            found[str(name)] = (value if value.dtype == torch.float64 else value.float()).numpy()
    return found


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


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
