"""All settings of `dvse train audio`, each said once; flags follow.

Knows neither torch nor transformers, so that help comes at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvse.errors import ConfigError
from dvse.precision import Precision, check_precision
from dvse.remote.remote_path import Location
from pipelines.codebooks.settings import Clustering, KMeansSettings
from pipelines.engines.settings import Placement
from pipelines.runs.numerics_settings import precision_setting
from pipelines.settings import section, setting

Normalization = Literal["encoder", "none", "window", "recording"]


def _clustering() -> Any:
    return section(
        Clustering(kmeans=KMeansSettings(num_codes=200)),
        "k-means (modes, levels and kept features with --encoder only)",
        names={"max_features": "max_frames"},
    )


@dataclass(frozen=True, kw_only=True)
class UnitFeatures:
    """Which features become units, and over which windows (`dvse.audio.windows`).

    Windows overlap by a second: with random weights in HuBERT-base's shape 8.9 % of the units of
    90 s differ from those of the whole without overlap, 8.6 % with 1 s, 8.8 with 2, 8.7 with 5 and
    8.0 with 10, which costs half as much work again. What differs is what attention sees and group
    norm averages over, not edges; `tiny`, with windows of 1.28 s, goes from 28 to 22 % with 0.1 s
    and to 21 % with 0.8 s (`tests/bench/bench_windows.py`).

    Raises:
        ConfigError: a length or a variance floor outside its range.
    """

    layer: int = setting(6, "hidden layer to cluster")
    window_s: float = setting(30.0, "window over long recordings")
    hop_s: float = setting(29.0, "from one window to the next")
    chunk_s: float | None = setting(
        None, "cut into chunks of this length without overlap instead, as fairseq does (100)"
    )
    normalize: Normalization = setting(
        "encoder",
        "scale samples to mean 0 and variance 1: none, over each window, over the whole recording "
        "(read twice; cannot be streamed), or over that where the encoder's own files ask for it",
    )
    variance_floor: float = setting(1e-7, "added to that variance (fairseq 1e-5)")
    merge_repeats: bool = setting(False, "a run of equal units becomes one")

    def __post_init__(self) -> None:
        if self.chunk_s is not None and not 0 < self.chunk_s < math.inf:
            raise ConfigError(f"--chunk-s: expected above 0, received {self.chunk_s:g}")
        if not 0 < self.variance_floor < 1:
            raise ConfigError(f"--variance-floor: expected 0..1, received {self.variance_floor:g}")


@dataclass(frozen=True, kw_only=True)
class PublishedEncoder:
    """An encoder that somebody else has trained."""

    name: str = setting(
        help="a Wav2Vec2, HuBERT or WavLM of transformers; by default a small one is trained",
        name="encoder",
        metavar="DIR_OR_HUB",
    )
    revision: str | None = setting(None, "of a Hub encoder: a commit, tag or branch")
    sample_rate_hz: int = setting(16_000, "of the --encoder")


@dataclass(frozen=True, kw_only=True)
class FeaturePlace:
    """Where recordings become features, which are the same wherever that is.

    Raises:
        ConfigError: settings of a cluster without one.
    """

    engine_name: Literal["local", "ray"] = setting(
        "local",
        "ray encodes on the nodes of a Ray cluster: an actor a GPU, or a node (--threads threads)",
        name="engine",
    )
    ray_address: str | None = setting(
        None,
        "with --engine ray: of the cluster's head, or auto (default: start one on this machine)",
        metavar="ADDRESS",
    )
    num_workers: int | None = setting(
        None,
        "with --engine ray: decode processes of each actor (default: the processors that it gets)",
        name="workers",
    )
    encode_on: Literal["cpu", "cuda"] = setting("cpu", "with --engine ray: what actors encode on")

    def __post_init__(self) -> None:
        given = {
            "--ray-address": self.ray_address is not None,
            "--workers": self.num_workers is not None,
            "--encode-on": self.encode_on != "cpu",
        }
        for flag, is_given in given.items():
            if is_given and not self.is_cluster:
                raise ConfigError(f"{flag}: expected --engine ray beside it")
        self.placement()

    @property
    def is_cluster(self) -> bool:
        """Whether nodes of a cluster encode."""
        return self.engine_name == "ray"

    def placement(self) -> Placement:
        """Return the place as jobs know it.

        Raises:
            ConfigError: no worker.
        """
        return Placement(
            engine_name=self.engine_name,
            ray_address=self.ray_address,
            num_workers=self.num_workers,
            device=self.encode_on,
        )


@dataclass(frozen=True, kw_only=True)
class UnitRecipe:
    """Everything that decides what `train_units` makes of recordings.

    `precision` is of the features that are clustered; the part holds the encoder as it is.

    Raises:
        ConfigError: a precision that this processor cannot compute.
    """

    data: tuple[Location, ...] = setting(
        help="recordings or folders of them, here or in a store; without --encoder the folder of "
        "the Free Spoken Digit Dataset with its manifest.jsonl",
        many="words",
    )
    encoder: PublishedEncoder = section(PublishedEncoder, "units")
    units: UnitFeatures = section(UnitFeatures(), "units")
    clustering: Clustering = _clustering()
    precision: Precision = precision_setting()
    threads: int = setting(1, "part of what makes a run repeatable")
    place: FeaturePlace = section(FeaturePlace(), "features (with --encoder or --extend)")

    def __post_init__(self) -> None:
        if self.place.encode_on == "cpu":  # a card is asked by the process that computes on it
            check_precision(self.precision, "cpu")


@dataclass(frozen=True, kw_only=True)
class ExtensionRecipe:
    """Everything that decides what `extend_units` makes of a part and recordings."""

    data: tuple[Path, ...] = setting(help="recordings or folders of them", many="words")
    extend: Path = setting(
        help="an audio part whose units stay; --num-codes counts them and the new ones",
        metavar="PART",
    )
    clustering: Clustering = _clustering()
    threads: int = setting(1, "part of what makes a run repeatable")
    place: FeaturePlace = section(FeaturePlace(), "features (with --encoder or --extend)")


def _small_shape() -> Mapping[str, Any]:
    from pipelines.training.audio.encoder import tiny_encoder_config

    return tiny_encoder_config().to_diff_dict()


@dataclass(frozen=True, kw_only=True)
class UnitEncoderTraining:
    """The training of a small encoder.

    Attributes:
        digits_per_step, sequences_per_step, crops_per_step: recorded digits alone, two to six of
            them joined with pauses, and synthetic speech in a step.
        longest_s: only stretches of this length are seen, as the tokenizer's windows will be.
        joined_share: of the synthetic clips are several, joined with pauses.
        revoiced_share: of all clips get other formants and another tempo. 1,800 steps at 0.5 made
            units of `tiny` that told words of other voices apart worse (ABX 2.7 to 6.3 %).
        cooldown: share of the steps over which the learning rate falls to zero.
        digit_weight, agreement_weight: weights of the digit loss and of the two views' distance
            against the phone loss, which counts once.
        align_from: step from which recorded digits are aligned and their phones trained.
        agree_from: share of the steps after which each clip is seen twice.
        encoder: fields of its transformers configuration.
    """

    steps: int = setting(3000, "optimiser steps")
    learning_rate: float = setting(2e-3, "peak of AdamW's")
    digits_per_step: int = 8
    sequences_per_step: int = 12
    crops_per_step: int = 8
    joined_share: float = 0.3
    revoiced_share: float = 0.0
    longest_s: float = 1.28
    warmup: int = 200
    cooldown: float = 0.4
    digit_weight: float = 0.6
    agreement_weight: float = 2.0
    align_from: int = 200
    agree_from: float = 0.3
    sample_rate_hz: int = 8000
    seed: int = setting(0, "of everything random")
    checkpoint_every: int = 250
    encoder: Mapping[str, Any] = field(default_factory=_small_shape)

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.cooldown <= 1:
            raise ConfigError(
                f"expected steps >= 1 and cooldown in 0..1, received {self.steps}, {self.cooldown}"
            )


@dataclass(frozen=True, kw_only=True)
class SmallEncoder:
    """A small encoder: how it is trained, on what besides the digits, and from where.

    Raises:
        ConfigError: a share outside 0..1.
    """

    training: UnitEncoderTraining = section(UnitEncoderTraining)
    start: Path | None = setting(None, "an audio part whose encoder is trained on", metavar="PART")
    hours: float = setting(2.0, "synthetic speech to train on")
    synthetic_share: float = setting(0.0, "share of synthetic speech among the clustered frames")

    def __post_init__(self) -> None:
        if not 0 <= self.synthetic_share < 1:
            raise ConfigError(
                f"expected a synthetic share in 0..1, received {self.synthetic_share}"
            )


@dataclass(frozen=True, kw_only=True)
class DigitUnitRecipe:
    """Everything that decides what `train_digit_units` makes of spoken digits.

    Raises:
        ConfigError: settings that need a published encoder.
    """

    data: tuple[Path, ...] = setting(help="the Free Spoken Digit Dataset", many="words")
    units: UnitFeatures = section(
        UnitFeatures(layer=3, window_s=1.28, hop_s=0.8, normalize="window"), "units"
    )
    clustering: Clustering = _clustering()
    small: SmallEncoder = section(
        SmallEncoder, "small encoder (without --encoder; needs espeak-ng)"
    )
    threads: int = setting(1, "part of what makes a run repeatable")

    def __post_init__(self) -> None:
        rest = self.clustering
        if rest.keep_features or rest.kmeans.num_levels != 1 or rest.mode != "lloyd":
            raise ConfigError("--mode, --num-levels and --keep-features need an --encoder")
        if self.units.normalize == "none":
            raise ConfigError(
                "--normalize none needs an --encoder; the small one is trained scaled"
            )
