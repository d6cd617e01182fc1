"""The centroids inside a joblib dump of scikit-learn's k-means, read without running anything.

fairseq's, textlesslib's, SpeechBrain's and ESPnet's codebooks (`km.bin`) are pickles: opening one
as joblib does runs whatever its author wrote. Here `inert_unpickler` reads it; neither joblib nor
scikit-learn is imported.

It refuses to know: estimators that are not k-means, object arrays, names off the list, anything
that needs more memory than the limits say, whatever the file claims of itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import UnsafeFileError, WeightsFormatError
from pipelines.importing.compressed_file import uncompressed
from pipelines.importing.inert_objects import Estimator, PlainArray
from pipelines.importing.inert_unpickler import KEPT, BoundedStream, InertUnpickler


@dataclass(frozen=True, kw_only=True)
class DumpedKMeans:
    """What a dump says.

    Attributes:
        centroids: `float32` or `float64 [num_codes, dim]`, finite, as they lie in the file.
        class_name: for example `sklearn.cluster._kmeans.MiniBatchKMeans`.
        sklearn_version: of the scikit-learn that wrote it, `None` where it does not say.
    """

    centroids: np.ndarray
    class_name: str
    sklearn_version: str | None


def read_joblib_kmeans(path: Path) -> DumpedKMeans:
    """Return the centroids of a dump, raw or compressed (zlib, gzip, bz2, xz, lzma, lz4).

    Raises:
        UnsafeFileError: it names something that is not on the list, or holds object arrays.
        WeightsFormatError: no joblib dump of k-means, cut short, or larger than the limits.
    """
    try:
        with uncompressed(path) as file:
            estimator = InertUnpickler(BoundedStream(file, path), path).load()
        centroids = _centroids(estimator, path)
    except (UnsafeFileError, WeightsFormatError):
        raise
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise _damaged(path, ValueError("an unknown instruction")) from error
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise _damaged(path, error) from error
    if not isinstance(centroids, np.ndarray) or centroids.ndim != 2 or not centroids.size:
        raise WeightsFormatError(
            f"{path}: expected centroids [num_codes, dim] in {KEPT}; the estimator was dumped "
            "before it was fitted"
        )
    if centroids.dtype.kind != "f" or not np.isfinite(centroids).all():
        raise WeightsFormatError(f"{path}: expected finite floating-point centroids in {KEPT}")
    version = estimator.state.get("_sklearn_version")
    return DumpedKMeans(
        centroids=centroids,
        class_name=estimator.class_name,
        sklearn_version=version if isinstance(version, str) else None,
    )


def _centroids(estimator: Any, path: Path) -> Any:
    if not isinstance(estimator, Estimator):
        raise WeightsFormatError(
            f"{path}: expected a joblib dump of scikit-learn's KMeans or MiniBatchKMeans, received "
            f"one of something else ({type(estimator).__name__})"
        )
    estimator.state = estimator.state or {}
    centroids = estimator.state.get(KEPT)
    return centroids.resolve(path) if isinstance(centroids, PlainArray) else centroids


def _damaged(path: Path, error: Exception) -> WeightsFormatError:
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return WeightsFormatError(
        f"{path}: expected a joblib dump of k-means, whole; it is damaged or of another kind "
        f"({detail}); download it again"
    )
