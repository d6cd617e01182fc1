"""The centroids inside a joblib dump of scikit-learn's k-means, read without running anything.

fairseq's, textlesslib's, SpeechBrain's and ESPnet's codebooks (`km.bin`) are pickles: opening one
as joblib does runs whatever its author wrote. Here `inert_unpickler` reads it; neither joblib nor
scikit-learn is imported.

It refuses to know: estimators that are not k-means, object arrays, names off the list, anything
that needs more memory than the limits say, whatever the file claims of itself.
"""

import bz2
import gzip
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dvse.errors import UnsafeFileError, WeightsFormatError
from pipelines.importing.inert_unpickler import KEPT, BoundedStream, Estimator, InertUnpickler

_BLOCK = 1 << 20


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
    """Return the centroids of a dump, raw or compressed (zlib, gzip, bz2, xz, lzma).

    Raises:
        UnsafeFileError: it names something that is not on the list, or holds object arrays.
        WeightsFormatError: no joblib dump of k-means, cut short, or larger than the limits.
    """
    try:
        with _uncompressed(path) as file:
            estimator = InertUnpickler(BoundedStream(file, path), path).load()
    except (UnsafeFileError, WeightsFormatError):
        raise
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise _damaged(path, ValueError("an unknown instruction")) from error
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise _damaged(path, error) from error
    if not isinstance(estimator, Estimator):
        raise WeightsFormatError(
            f"{path}: expected a joblib dump of scikit-learn's KMeans or MiniBatchKMeans, received "
            f"one of something else ({type(estimator).__name__})"
        )
    centroids = estimator.state.get(KEPT)
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


def _damaged(path: Path, error: Exception) -> WeightsFormatError:
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return WeightsFormatError(
        f"{path}: expected a joblib dump of k-means, whole; it is damaged or of another kind "
        f"({detail}); download it again"
    )


def _uncompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    if start[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if start[:2] == b"BZ":
        return bz2.open(path, "rb")
    if start == b"\xfd7zXZ\x00" or start[:3] == b"\x5d\x00\x00":
        return lzma.open(path, "rb")
    if start[:1] == b"\x78":
        return _Zlib(path)  # type: ignore[return-value]
    if start[:4] in (b"\x04\x22\x4d\x18", b"PK\x03\x04"):
        kind = "lz4" if start[0] == 4 else "a zip archive (torch or skops wrote it)"
        raise WeightsFormatError(
            f"{path}: expected a joblib dump, raw or compressed by zlib, gzip, bz2 or xz, received "
            f"{kind}"
        )
    return path.open("rb")


class _Zlib:
    """A zlib stream as a file, a block at a time: a bomb costs no memory."""

    def __init__(self, path: Path) -> None:
        self._file, self._inflate, self._ready = path.open("rb"), zlib.decompressobj(), b""

    def read(self, size: int) -> bytes:
        parts = [self._ready]
        have = len(self._ready)
        while have < size and not self._inflate.eof:
            raw = self._inflate.unconsumed_tail or self._file.read(_BLOCK)
            if not raw:
                break
            block = self._inflate.decompress(raw, max(size - have, _BLOCK))
            parts.append(block)
            have += len(block)
        joined = b"".join(parts)
        self._ready = joined[size:]
        return joined[:size]

    def __enter__(self) -> "_Zlib":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
