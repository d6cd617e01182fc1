"""All settings of `dvse train image`, each said once; flags and the recorded recipe follow.

Knows no torch, so that help comes at once.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location
from pipelines.codebooks.settings import Clustering, KMeansSettings
from pipelines.settings import section, setting

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["no", "bf16", "fp16"]
QuantizerKind = Literal["cosine", "ema", "simvq", "fsq"]
Learns = Literal["encoder", "pixels", "all"]


@dataclass(frozen=True, kw_only=True)
class PictureData:
    """Which pictures are trained on and measured with, and at what size."""

    path: Location = setting(
        help="Parquet file or folder of pictures, here or in a store", name="data"
    )
    rows: str = setting(":", "rows or files to train on", metavar="START:STOP")
    validation_rows: str | None = setting(
        None, "rows or files to measure on, never trained", metavar="START:STOP"
    )
    image_column: str = setting("image", "of a Parquet file", metavar="NAME")
    label_column: str | None = setting(None, "classes, for --label-weight", metavar="NAME")
    licence: str = setting("", "recorded with the part", name="data_licence", metavar="NAME")
    picture_size: int = setting(32, "side in pixels for training")


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """The codebook or lattice that is trained, see `pipelines.training.image.quantizers`.

    Of `fsq`, `num_codes` becomes the product of `lattice` and `code_dim` its length.

    Attributes:
        decay: of the moving averages.
        revive_below: codes used less often than this share of the mean (moving average over steps)
            start anew from a random feature; 0 leaves dead codes dead.

    Raises:
        ConfigError: values outside their range, or ones that do not fit together.
    """

    kind: QuantizerKind = setting(
        "cosine",
        "codebook of moving averages by angle or by distance, SimVQ, or a lattice (FSQ)",
        name="quantizer",
    )
    num_codes: int = setting(1024, "of each level")
    num_levels: int = setting(1, "residual levels")
    lattice: tuple[int, ...] = setting(
        (), "of fsq: values of each channel, at least three", metavar="N,N"
    )
    code_dim: int = setting(16, "width in which codes are compared")
    decay: float = 0.97
    revive_below: float = 0.25

    def __post_init__(self) -> None:
        object.__setattr__(self, "lattice", tuple(self.lattice))
        kinds = get_args(QuantizerKind)
        if self.kind not in kinds:
            raise ConfigError(f"expected a quantizer of {', '.join(kinds)}, received {self.kind!r}")
        if (self.kind == "fsq") != bool(self.lattice):
            raise ConfigError(
                "expected the values of each channel (such as 8,5,5,5) with the quantizer fsq, and "
                f"only with it; received {self.kind} with {self.lattice}"
            )
        if self.lattice:
            if min(self.lattice) < 3 or self.num_levels != 1:
                raise ConfigError(
                    "expected at least three values in each channel of fsq, and one level; "
                    f"received {self.lattice} and {self.num_levels} levels"
                )
            object.__setattr__(self, "num_codes", math.prod(self.lattice))
            object.__setattr__(self, "code_dim", len(self.lattice))
        if self.num_codes < 2 or self.code_dim < 1 or self.num_levels < 1:
            raise ConfigError(
                f"expected at least two codes of at least one channel and one level, received "
                f"{self.num_codes} codes of {self.code_dim} and {self.num_levels} levels"
            )
        if not 0 < self.decay < 1 or self.revive_below < 0:
            raise ConfigError(
                f"expected a decay in 0..1 and a bound of at least 0 for dead codes, received "
                f"{self.decay} and {self.revive_below}"
            )


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """The way back: to pixels, or to a teacher's features."""

    widths: tuple[int, ...] = setting(
        (128, 48, 24),
        "channels of the pixel decoder, from the grid to full resolution",
        name="decoder_widths",
        metavar="N,N,N",
    )
    num_blocks: int = setting(0, "residual blocks of the decoder", name="decoder_blocks")


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """The tokenizer: encoder, codes, and what it does with larger pictures."""

    start: str | None = setting(
        None,
        "train this one's encoder on (--depth may be larger); its codes stay as they are",
        metavar="PART|BUNDLE",
    )
    new_encoder: bool = setting(
        False, "with --start: take its codes only, for an encoder of any shape that begins anew"
    )
    learns: Learns = setting(
        "encoder",
        "with --start: the encoder, the way back from codes to pixels alone, or all and codes too",
    )
    quantizer: QuantizerConfig = section(QuantizerConfig())
    max_tokens: int = setting(256, "budget for larger pictures")
    encoder: str = setting("vit_small_patch16_rope_224", "a timm ViT", metavar="NAME")
    stem_widths: tuple[int, ...] = setting(
        (32, 48),
        "channels of the convolutions before it; each width after the first halves the picture",
        metavar="N,N",
    )
    stem_top: int = setting(0, "a deeper stem that pools: width at the grid; 0 for none")
    dim: int = setting(128, "width of the encoder")
    depth: int = setting(2, "blocks of the encoder")
    num_heads: int = setting(4, "attention heads of a block")
    decoder: DecoderShape = section(DecoderShape())

    def __post_init__(self) -> None:
        if self.new_encoder and self.start is None:
            raise ConfigError("expected --start with --new-encoder: whose codes does it choose?")
        if self.learns not in get_args(Learns):
            raise ConfigError(
                f"--learns: expected {', '.join(get_args(Learns))}, received {self.learns!r}"
            )
        if self.learns != "encoder" and (self.start is None or self.new_encoder):
            raise ConfigError(
                f"expected --start with --learns {self.learns}, and no --new-encoder: it goes on "
                "with the start's encoder"
            )

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels: each stem width after the first resolution halves it."""
        return 2 ** len(self.stem_widths)


@dataclass(frozen=True, kw_only=True)
class ContextSettings:
    """A network beside the encoder's stem that tells patches what picture they are part of.

    It learns labels first, by itself, and stays as it is afterwards; one that the start has is
    taken as it is.

    Raises:
        ConfigError: no epochs, or no picture a step.
    """

    widths: tuple[int, ...] = setting(
        (),
        "channels of a network beside the stem that learns labels first; empty for none",
        name="context_widths",
        metavar="N,N,N",
    )
    epochs: int = setting(13, "passes in which it learns labels", name="context_epochs")
    batch_size: int = setting(1536, "pictures a step of it", name="context_batch_size")

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.epochs < 1 or self.batch_size < 1 or min(self.widths, default=1) < 1:
            raise ConfigError(
                "expected at least one epoch, one picture a step and one channel for a context, "
                f"received {self.epochs}, {self.batch_size} and {self.widths}"
            )


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """A frozen network whose features codes rebuild.

    Raises:
        ConfigError: a name without weights, or weights without a name.
    """

    name: str | None = setting(None, "a timm ViT, frozen", name="teacher", metavar="NAME")
    weights: Path | None = setting(None, "its safetensors", name="teacher_weights", metavar="FILE")
    layer: int = setting(-1, "block whose features are rebuilt", name="teacher_layer")

    def __post_init__(self) -> None:
        if (self.name is None) != (self.weights is None):
            raise ConfigError(
                "expected a teacher's name and its weights together; name it as timm does and give "
                "the safetensors file that belongs to it"
            )


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig:
    """The loop.

    A batch is a step's pictures, of all processes together. Features give way to codes between
    the shares `hard_from` and `hard_by` of the run: before, the codebook only follows, after it all
    is as it will be used. Pixels are learned from fewer pictures than labels are, and the decoder
    takes a third of a step, hence `decoded_share`.

    Attributes:
        weight_decay: of weight matrices (not of biases and norms).
    """

    epochs: int = setting(4, "passes over the pictures")
    batch_size: int = setting(64, "pictures a step, of all processes together")
    accumulate: int = setting(1, "parts that a batch is taken in, to fit in memory")
    precision: Precision = setting("no", "half precision for everything but codes and losses")
    learning_rate: float = setting(2e-3, "peak of AdamW's; it rises and then falls as a cosine")
    weight_decay: float = 0.05
    warmup_steps: int = setting(200, "over which the learning rate rises")
    label_weight: float = setting(0.0, "of the label loss beside the others; 0 is without labels")
    label_smoothing: float = setting(0.0, "share of a label that goes to all classes alike")
    mosaic_share: float = setting(
        0.25, "share of steps that see 2x2, 1x2 or 2x1 pictures side by side, some left blank"
    )
    decoded_share: float = setting(1.0, "share of a batch decoded to pixels")
    hard_from: float = setting(0.0, "share of the run before codes set in")
    hard_by: float = setting(0.0, "share by which only codes count")
    checkpoint_steps: int = setting(
        0, "steps between checkpoints within an epoch; 0 for the end of each epoch alone"
    )
    seed: int = setting(0, "of everything random")

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError("expected epochs, batch size and learning rate above zero")
        if self.precision not in get_args(Precision):
            raise ConfigError(f"expected precision no, bf16 or fp16, received {self.precision!r}")
        if self.accumulate < 1 or self.checkpoint_steps < 0 or self.warmup_steps < 0:
            raise ConfigError(
                "expected at least 1 for accumulate and 0 for checkpoint and warm-up steps"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"expected a label smoothing in 0..1, received {self.label_smoothing}"
            )
        if self.label_weight < 0 or not 0 <= self.mosaic_share <= 1:
            raise ConfigError("expected a label weight of at least 0 and a mosaic share in 0..1")
        if not 0 < self.decoded_share <= 1:
            raise ConfigError(f"expected a decoded share in 0..1, received {self.decoded_share}")
        if not 0 <= self.hard_from <= self.hard_by <= 1:
            raise ConfigError(
                f"expected 0 <= hard_from <= hard_by <= 1, received {self.hard_from} and "
                f"{self.hard_by}"
            )


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run computes."""

    device: Device = setting("auto", "auto takes a GPU where there is one")
    threads: int = setting(2, "part of what makes a run repeatable")


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """Everything that decides what `train_image` makes of pictures.

    The same recipe, data, thread count and library versions give the same weights.

    >>> ImageRecipe(data=PictureData(path=Path("photos"))).tokenizer.quantizer.num_codes
    1024
    """

    data: PictureData = section(PictureData, "data")
    tokenizer: TokenizerSettings = section(TokenizerSettings(), "tokenizer")
    context: ContextSettings = section(ContextSettings(), "context")
    teacher: TeacherSettings = section(
        TeacherSettings(), "teacher: rebuild its features instead of pixels (VQ-KD)"
    )
    training: ImageTrainingConfig = section(ImageTrainingConfig(), "training")
    machine: Machine = section(Machine(), "training")


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder:
    """A published ViT, and which of its blocks is clustered."""

    name: str = setting(TokenizerSettings().encoder, "a timm ViT", name="encoder")
    weights: Path = setting(
        help="safetensors of the --encoder", name="frozen_weights", metavar="FILE"
    )
    layer: int = setting(-1, "block that is clustered")


@dataclass(frozen=True, kw_only=True)
class FrozenImageRecipe:
    """Everything that decides what `train_frozen_image` makes of pictures."""

    data: PictureData = section(PictureData, "data")
    encoder: FrozenEncoder = section(
        FrozenEncoder, "k-means over a frozen encoder's features (no network)"
    )
    clustering: Clustering = section(
        Clustering(kmeans=KMeansSettings(num_codes=QuantizerConfig().num_codes)),
        "k-means over a frozen encoder's features (no network)",
    )
    machine: Machine = section(Machine(), "training")
