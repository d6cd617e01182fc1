"""Settings of a codebook that is clustered: of k-means, and of how features are held.

Knows no torch, so that help comes at once.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location
from pipelines.settings import section, setting

Initialization = Literal["kmeans++", "reservoir"]
Mode = Literal["lloyd", "minibatch", "faiss"]


@dataclass(frozen=True, kw_only=True)
class KMeansSettings:
    """What every way of fitting understands.

    The same seed, features and threads give the same centroids.

    Attributes:
        tolerance: stop once a pass lowers the inertia by less than this share.

    Raises:
        ConfigError: a setting outside its range.
    """

    num_codes: int = setting(help="of each level")
    num_levels: int = setting(1, "residual levels")
    num_passes: int = setting(10, "most passes over the features, for each level")
    initialization: Initialization = setting("kmeans++", "or rows drawn uniformly")
    tolerance: float = 1e-3
    seed: int = setting(0, "of everything random")

    def __post_init__(self) -> None:
        for name in ("num_codes", "num_levels", "num_passes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected {name} of at least 1, received {getattr(self, name)}")
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"expected a tolerance in 0 … 1, received {self.tolerance}")
        if self.initialization not in get_args(Initialization):
            raise ConfigError(
                f"expected initialization 'kmeans++' or 'reservoir', received "
                f"{self.initialization!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How features become a codebook.

    Raises:
        ConfigError: a sample smaller than the codebook, or settings of another mode.
    """

    kmeans: KMeansSettings = section(KMeansSettings)
    mode: Mode = setting(
        "lloyd", "torch Lloyd on CPU or GPUs, scikit-learn's MiniBatchKMeans, or faiss"
    )
    max_features: int = setting(
        100_000, "size of the sample that is clustered, of all processes together"
    )
    keep_features: bool = setting(
        False,
        "spill all features to OUTPUT/features, and use them again when the command is repeated",
    )
    features: Location | None = setting(
        None,
        "features that an earlier run kept of the same recordings, here or in a store, instead of "
        "encoding; several processes share them",
        metavar="DIR",
    )
    device: str = setting("cpu", "of mode lloyd: cpu, cuda or cuda:N")
    bf16: bool = setting(False, "of mode lloyd: products in bfloat16, sums exact")

    def __post_init__(self) -> None:
        if self.keep_features and self.features is not None:
            raise ConfigError("--keep-features makes features, --features has them; choose one")
        is_sample = not self.keep_features and self.features is None
        if self.max_features < self.kmeans.num_codes and is_sample:
            raise ConfigError(
                f"expected a sample of at least {self.kmeans.num_codes} frames, one a code, "
                f"received {self.max_features}"
            )
        if self.mode != "lloyd" and (self.bf16 or self.device not in ("cpu", "auto")):
            raise ConfigError(f"--device and --bf16 are of mode lloyd, received mode {self.mode}")
